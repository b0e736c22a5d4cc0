"""Everything that `training/RESULTS.md` reports, run on CIFAR-100 from the shipped bundle and written into it.

    python -m training.results DATA OUT

DATA holds the folders `train` and `test` of CIFAR-100 and the OOD sets `cifar10`, `textures` and `omniglot`. What is in
OUT already is not run again. The tables stand in RESULTS.md between `<!-- begin NAME -->` and `<!-- end NAME -->`, and
only those lines are replaced; the pictures go to `training/results/`.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from training.commands import fitting, judging
from training.data import read_data_set
from training.options import SHIPPED_BUNDLE
from training.progress import say
from training.reproduction import LEDGER

RESULTS = Path(__file__).with_name("RESULTS.md")
PICTURES = Path(__file__).with_name("results")
OOD_SETS = ("cifar10", "textures", "omniglot")
STUDIES = ("classes", "classes-fixed-total", "grouping", "groups", "backbones", "blocks")
SMALLER_BACKBONES = {"R11-tiny": 15, "R26-s2": 6}  # epochs
BLOCKS_SHARE = 5  # one picture of so many is fitted on in the study of opened blocks
TAXONOMY = "taxonomy:cifar100"


def main(data: Path, out: Path) -> None:
    """Run what is missing and write the tables and pictures."""
    out.mkdir(parents=True, exist_ok=True)
    _once(out, "evaluate", partial(_evaluate, data))
    smaller = {name: out / "trained" / name for name in SMALLER_BACKBONES}
    for name in smaller:
        _once(out, f"trained/{name}", partial(_train, data, name))
    weights = [str(SHIPPED_BUNDLE), *(str(run / "network.pt") for run in smaller.values())]
    for study in STUDIES:
        _once(out, study, partial(_ablate, study, data, weights))
    PICTURES.mkdir(exist_ok=True)
    tables = {"ledger": _ledger(), "machine": _machine(out)}
    for name in ("evaluate", *STUDIES):
        tables[name] = (out / name / "results.md").read_text("utf-8")
        for picture in (out / name).glob("*.png"):
            shutil.copyfile(picture, PICTURES / f"{name}-{picture.name}")
    text = RESULTS.read_text("utf-8")
    for name, table in tables.items():
        text = _replace(text, name, table)
    RESULTS.write_text(text, "utf-8")


def _once(out: Path, name: str, run: Callable[[Path], None]) -> None:
    """Run into OUT/NAME unless that was finished, and note how long it took."""
    note = out / f"{name}.seconds"
    if note.exists():
        return
    say(f"results: {name}")
    start = time.monotonic()
    run(out / name)
    note.parent.mkdir(parents=True, exist_ok=True)
    note.write_text(json.dumps(round(time.monotonic() - start)), "utf-8")


def _evaluate(data: Path, out: Path) -> None:
    judging.evaluate(SHIPPED_BUNDLE, data / "test", _ood(data), out)


def _train(data: Path, backbone: str, out: Path) -> None:
    fitting.train(
        data / "train",
        out,
        open_blocks="all",
        backbone=backbone,
        grouping=TAXONOMY,
        epochs=SMALLER_BACKBONES[backbone],
        bf16=True,
    )


def _ablate(study: str, data: Path, weights: list[str], out: Path) -> None:
    fitted = data / "train"
    if study == "blocks":
        fitted = out.with_name("pictures")
        _link_share(data / "train", fitted)
    chosen = weights if study == "backbones" else weights[:1]
    judging.ablate(study, fitted, data / "test", _ood(data), out, weights=chosen, grouping=TAXONOMY, bf16=True)


def _link_share(data: Path, folder: Path) -> None:
    """A data set of every BLOCKS_SHARE-th picture, as links."""
    whole = read_data_set(data)
    for path in whole.paths[::BLOCKS_SHARE]:
        link = folder / path
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.exists():
            link.symlink_to((data / path).resolve())


def _ood(data: Path) -> list[str]:
    return [f"{name}={data / name}" for name in OOD_SETS]


def _replace(text: str, name: str, table: str) -> str:
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    return re.sub(f"{begin}.*?{end}", lambda _: f"{begin}\n{table.strip()}\n{end}", text, flags=re.DOTALL)


def _ledger() -> str:
    rows = [
        f"| {row.number} | {row.setting or '-'} | {row.paper} | {row.official} | {row.corrected} |" for row in LEDGER
    ]
    return "\n".join(["| | setting | paper | official | corrected |", "|---|---|---|---|---|", *rows])


def _machine(out: Path) -> str:
    seconds = {str(note.relative_to(out).with_suffix("")): note for note in sorted(out.rglob("*.seconds"))}
    times = ", ".join(f"{name} {json.loads(note.read_text('utf-8')) / 60:.1f}" for name, note in seconds.items())
    return (
        f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, no GPU. Minutes: {times}."
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
