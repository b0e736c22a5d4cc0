"""RESULTS.md is what a run wrote, between its markers, and nothing else of it changes."""

import json
import re
from pathlib import Path

import pytest

from training.errors import TrainingError
from training.studies import results


@pytest.fixture
def finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a finished run, and a RESULTS.md with old tables."""
    out = tmp_path / "out"
    for name in ("evaluate", *results.STUDIES):
        (out / name).mkdir(parents=True)
        (out / name / "results.md").write_text(f"| new {name} |\n")
        (out / name / "figure.png").write_bytes(name.encode())
        (out / f"{name}.seconds").write_text(json.dumps(90))
    names = ("machine", "ledger", "evaluate", *results.STUDIES)
    blocks = (f"## {name}\n<!-- begin {name} -->\nold\n<!-- end {name} -->\nwords on {name}\n" for name in names)
    (tmp_path / "RESULTS.md").write_text("# Results\n" + "\n".join(blocks))
    monkeypatch.setattr(results, "RESULTS", tmp_path / "RESULTS.md")
    monkeypatch.setattr(results, "PICTURES", tmp_path / "pictures")
    return out


def test_tables_are_replaced_and_words_are_kept(finished: Path) -> None:
    """Every marker's content is the run's; what people wrote stays."""
    results.write_up(finished)
    text = results.RESULTS.read_text()
    assert "old" not in text
    for name in ("evaluate", *results.STUDIES):
        assert f"<!-- begin {name} -->\n| new {name} |\n<!-- end {name} -->\nwords on {name}\n" in text
        assert (results.PICTURES / f"{name}-figure.png").read_bytes() == name.encode()
    assert "evaluate 1.5" in text
    assert "| B1 | accumulation |" in text


def test_a_command_that_failed_is_named_and_not_taken_as_done(tmp_path: Path) -> None:
    """The sentence names the log, and the next run tries again."""
    with pytest.raises(TrainingError, match=r"broken\.log"):
        results._run("broken", ("groups", "--taxonomy", "klingon"), tmp_path)
    assert not (tmp_path / "broken.seconds").exists()
    assert "klingon" in (tmp_path / "broken.log").read_text()


def test_the_file_in_the_repository_has_every_table() -> None:
    """Each marker once, filled, and each picture it shows is there."""
    text = results.RESULTS.read_text()
    for name in ("machine", "ledger", "evaluate", *results.STUDIES):
        found = re.findall(f"<!-- begin {name} -->\n(.+?)\n<!-- end {name} -->", text, re.DOTALL)
        assert len(found) == 1, name
        assert len(found[0]) > 40, name
    shown = re.findall(r"\]\((figures/[^)]+)\)", text)
    assert shown
    assert all((results.RESULTS.parent / picture).is_file() for picture in shown)
