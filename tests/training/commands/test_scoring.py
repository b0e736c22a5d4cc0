"""What `score` tells a person and a script."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from service.bundle import Bundle
from tests.training.bulk.material import BROKEN, GREY, RED, write_folder
from training import __main__ as cli

ROOT = Path(__file__).parents[3]

Score = Callable[..., tuple[int, str]]


@pytest.fixture
def score(tmp_path: Path, tiny_bundle: Bundle, capsys: pytest.CaptureFixture[str]) -> Score:
    """Run the command on some pictures; the exit status, and what is said."""

    def run(pictures: dict[str, bytes], *options: object) -> tuple[int, str]:
        data = write_folder(tmp_path / "-".join(pictures), pictures)
        out = tmp_path / f"{data.name}.out"
        arguments = ["--data", data, "--out", out, "--bundle", tiny_bundle.path, *options]
        with pytest.raises(SystemExit) as stopped:
            cli.main(["score", *map(str, arguments)])
        return int(stopped.value.code or 0), capsys.readouterr().err

    return run


def test_the_status_is_that_of_predict(score: Score) -> None:
    """0 where all are in, 3 where some are out, 1 where one could not be judged, whatever the others are."""
    assert score({"a.png": RED})[0] == 0
    assert score({"a.png": RED, "b.png": GREY})[0] == 3
    assert score({"a.png": GREY, "c.png": BROKEN})[0] == 1


def test_the_summary_counts_and_says_where_to_look(score: Score) -> None:
    """And how fast it was; a run that was done already has no speed."""
    pictures = {"a.png": RED, "b.png": GREY, "c.png": BROKEN}
    _, said = score(pictures)
    assert "3 pictures: 1 in, 1 out, 1 could not be judged; " in said
    assert "pictures a second" in said
    assert "errors in" in said
    assert "a second" not in score(pictures)[1]


def test_a_refusal_is_one_sentence(score: Score) -> None:
    """With the remedy, and no traceback."""
    status, said = score({"a.png": RED}, "--column", "image")
    assert (status, said.count("\n")) == (1, 1)
    assert "leave out --column" in said


@pytest.mark.parametrize(
    ("absent", "options", "words"), [("pyarrow", [], "mos-guard[bulk]"), ("ray", ["--ray", "auto"], "mos-guard[ray]")]
)
def test_an_extra_that_is_missing_is_named(tmp_path: Path, absent: str, options: list[str], words: str) -> None:
    """The base install is the service alone."""
    code = f"import sys; sys.modules[{absent!r}] = None; from training.__main__ import main; main(sys.argv[1:])"
    command = [sys.executable, "-c", code, "score", "--data", str(tmp_path), "--out", str(tmp_path / "out"), *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert words in done.stderr
    assert done.stderr.count("\n") == 1
