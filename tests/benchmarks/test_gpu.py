"""The benchmark of a GPU runs to its end where there is none, and goes on where it stopped."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks.gpu.results import Plan, Results, read_rows
from tests.benchmarks.gpu.table import table
from tests.server_process import ROOT

pytestmark = pytest.mark.e2e


def run(folder: Path, *arguments: str) -> str:
    """Run the script on the CPU with small models and return what it printed."""
    command = [sys.executable, "-m", "tests.benchmarks.gpu", "--out", str(folder), "--device", "cpu", "--quick"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, *arguments], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_runs_to_its_end_and_measures_everything(tmp_path: Path) -> None:
    """Every part has rows, none of them failed, and a second run repeats nothing."""
    printed = run(tmp_path)
    assert "Not measured" not in printed
    files = {path.name: path.read_text() for path in tmp_path.glob("*.jsonl")}
    assert set(files) == {"rates.jsonl", "engine.jsonl", "torch.jsonl", "service.jsonl"}
    ways = {json.loads(line)["way"] for line in files["engine.jsonl"].splitlines()}
    assert ways == {"plain", "bound", "bound, two in flight"}
    for heading in ("matrix product", "ONNX Runtime", "torch", "decoding alone"):
        assert heading in printed
    assert run(tmp_path, "--part", "engine") == printed
    assert (tmp_path / "engine.jsonl").read_text() == files["engine.jsonl"]


def test_a_row_is_measured_once_and_none_is_begun_when_the_time_is_over(tmp_path: Path) -> None:
    """What is left is measured when the part is asked for again; what failed is told and not tried again."""
    over, going = (Plan("cpu", quick=True, folder=tmp_path, ends_at=ends_at) for ends_at in (0.0, math.inf))
    Results(tmp_path / "x.jsonl", over).add({"way": "a"}, lambda: {"flops": 1})
    assert not (tmp_path / "x.jsonl").exists()
    for flops in (2, 3):
        Results(tmp_path / "x.jsonl", going).add({"way": "a"}, lambda flops=flops: {"flops": flops})
        Results(tmp_path / "x.jsonl", going).add({"way": "b"}, lambda: 1 / 0)  # type: ignore[arg-type,return-value]
    first, second = read_rows(tmp_path / "x.jsonl")
    assert (first["way"], first["flops"]) == ("a", 2)
    assert (second["way"], second["failed"]) == ("b", "ZeroDivisionError: division by zero")


def test_the_table_tells_rates_as_shares_of_the_device_and_says_what_failed(tmp_path: Path) -> None:
    """A hundred pictures of a hundred million operations a second are a tenth of a hundred billion."""
    where = {"device": "cuda", "quick": False, "precision": "float16"}
    rate = where | {"way": "matrix product", "name": "A card", "flops": 1e11}
    measured = where | {"model": "R50x1", "way": "bound", "batch": 8, "images_per_second": 100.0, "flops": 1e8}
    failed = where | {"model": "R50x1", "way": "TensorRT", "batch": 8, "failed": "ProviderError: no tensorrt"}
    (tmp_path / "rates.jsonl").write_text(json.dumps(rate) + "\n")
    (tmp_path / "engine.jsonl").write_text(f"{json.dumps(measured | {'moved': 0.001})}\n{json.dumps(failed)}\n")
    printed = table(tmp_path)
    assert printed.startswith("## A card\n")
    assert "| R50x1 | float16 | ONNX Runtime | bound | 100 | 0.10 | 1.0e-03 |" in printed
    assert "- engine: R50x1 float16 TensorRT: ProviderError: no tensorrt" in printed
