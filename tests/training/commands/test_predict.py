"""What is printed about pictures, and the status that a script goes by."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from service.bundle import Bundle
from tests.server_process import running_server
from tests.tiny_bundle import png, write_tiny_bundle
from training import __main__ as cli

RED, GREY = png((235, 20, 20)), png((128, 128, 128))
ROOT = Path(__file__).parents[3]

Predict = Callable[..., tuple[int, list[dict[str, Any]]]]


@pytest.fixture
def predict(capsys: pytest.CaptureFixture[str]) -> Predict:
    """Run the command as in a pipe; the exit status, and the lines."""

    def run(*arguments: object) -> tuple[int, list[dict[str, Any]]]:
        with pytest.raises(SystemExit) as stopped:
            cli.main(["predict", *map(str, arguments)])
        return int(stopped.value.code or 0), [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return run


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder with one picture of each fate."""
    folder = tmp_path / "pictures"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.png").write_bytes(RED)
    (folder / "b.png").write_bytes(RED[:-30])
    (folder / "deep" / "c.png").write_bytes(GREY)
    (folder / "notes.txt").write_text("no picture")
    return folder


def test_the_status_says_whether_all_are_in(tiny_bundle: Bundle, pictures: Path, predict: Predict) -> None:
    """0 where all are, 3 where some are out, 1 where one could not be judged, whatever the others are."""
    red, broken, grey = pictures / "a.png", pictures / "b.png", pictures / "deep" / "c.png"
    bundle = ("--bundle", tiny_bundle.path)
    assert predict(red, red, *bundle)[0] == 0
    assert predict(grey, red, *bundle)[0] == 3
    assert predict(broken, grey, *bundle)[0] == 1
    assert predict(grey, broken, red, *bundle)[0] == 1
    assert predict(pictures / "nothing.png", *bundle)[0] == 1


def test_a_folder_is_a_line_for_each_picture(tiny_bundle: Bundle, pictures: Path, predict: Predict) -> None:
    """In order, with the path and either the verdict's fields or the sentence of what is wrong."""
    _, lines = predict(pictures, "--bundle", tiny_bundle.path)
    assert [Path(line["path"]).name for line in lines] == ["a.png", "b.png", "c.png"]
    assert [line.get("decision") for line in lines] == ["in", None, "out"]
    assert lines[0]["label"] == "red"
    assert lines[0]["top"][0]["label"] == "red"
    assert (lines[0]["model"], lines[0]["version"]) == ("tiny", "1")
    assert "truncated" in lines[1]["error"]


def test_more_than_one_batch_is_in_order(tiny_bundle: Bundle, pictures: Path, predict: Predict) -> None:
    """Whatever is wrong with some of them."""
    names = [pictures / "a.png", pictures / "gone.png", pictures / "b.png", pictures / "deep" / "c.png"] * 20
    _, lines = predict(*names, "--bundle", tiny_bundle.path)
    assert [line["path"] for line in lines] == list(map(str, names))
    assert [line.get("decision") for line in lines] == ["in", None, None, "out"] * 20


@pytest.mark.e2e
def test_a_service_says_what_the_bundle_says(tmp_path: Path, pictures: Path, predict: Predict) -> None:
    """Two ways to the same lines; what the service adds are the ids."""
    bundle = write_tiny_bundle(tmp_path / "bundle").path
    (tmp_path / "keys").write_text("secret\n")
    with running_server(tmp_path, bundle=bundle, api_keys_file=tmp_path / "keys") as server:
        server.wait_until_ready()
        status, served = predict(pictures, "--url", server.url, "--api-key", "secret")
        with pytest.raises(SystemExit) as stopped:
            cli.main(["predict", str(pictures / "a.png"), "--url", server.url])
        assert stopped.value.code == 1
    own_status, own = predict(pictures, "--bundle", bundle)
    assert status == own_status == 1
    for line, other in zip(served, own, strict=True):
        assert line.keys() - other.keys() <= {"request_id", "index"}
        for name in other:
            wanted = pytest.approx(other[name], abs=1e-6) if isinstance(other[name], float) else other[name]
            assert name == "top" or line[name] == wanted


def test_a_picture_may_come_on_standard_input(tiny_bundle: Bundle) -> None:
    """As its bytes, for a pipe."""
    command = [sys.executable, "-m", "training", "predict", "-", "--bundle", str(tiny_bundle.path)]
    done = subprocess.run(command, input=GREY, cwd=ROOT, capture_output=True, timeout=120, check=False)
    assert done.returncode == 3, done.stderr
    assert json.loads(done.stdout)["path"] == "-"


def test_a_terminal_gets_a_table(tiny_bundle: Bundle, pictures: Path) -> None:
    """A heading, and a row for each picture with its decision first."""
    reader, writer = pty.openpty()
    command = [sys.executable, "-m", "training", "predict", str(pictures), "--bundle", str(tiny_bundle.path)]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, cwd=ROOT, timeout=120, check=False)
    os.close(writer)
    rows = os.read(reader, 65_536).decode().splitlines()
    os.close(reader)
    assert done.returncode == 1, done.stderr
    assert [row.split()[0] for row in rows] == ["decision", "in", "error", "out"]
    assert rows[1].split()[1] == "red"
    assert rows[1].endswith("a.png")


def test_two_ways_at_once_and_no_service_are_one_sentence(
    pictures: Path, tiny_bundle: Bundle, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the remedy, and no traceback."""
    for options, words in (
        (["--url", "http://127.0.0.1:1", "--bundle", str(tiny_bundle.path)], "name one of them"),
        (["--url", "http://127.0.0.1:1"], "check the URL"),
        (["--bundle", str(pictures)], "bundle.json is missing"),
    ):
        with pytest.raises(SystemExit) as stopped:
            cli.main(["predict", str(pictures / "a.png"), *options])
        assert stopped.value.code == 1
        assert words in capsys.readouterr().err


def test_the_shipped_model_judges_unless_told_otherwise(pictures: Path, predict: Predict) -> None:
    """So that it works at once."""
    _, [line] = predict(pictures / "a.png")
    assert line["model"] == "cifar100-bit"
