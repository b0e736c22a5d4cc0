"""How far it is, in lines where there is no terminal."""

import pytest

from training import progress


@pytest.mark.parametrize(
    ("total", "lines"),
    [(10, ["work: 2 of 10, 2.0/s", "work: 5 of 10, 2.5/s"]), (None, ["work: 2, 2.0/s", "work: 5, 2.5/s"])],
)
def test_lines_say_how_far_and_how_fast(
    total: int | None, lines: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """And not more often than somebody wants to read."""
    clock = iter([0.0, 1.0, 1.5, 2.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(progress, "LINE_EVERY_SECONDS", 1.0)
    with progress.counting(total, "work") as advance:
        for count in (2, 1, 2):
            advance(count)
    assert capsys.readouterr().err.splitlines() == lines


def test_what_is_tracked_passes_through() -> None:
    """Item by item."""
    assert list(progress.track("abc", 3, "work")) == list("abc")
