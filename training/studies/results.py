"""Everything that `training/RESULTS.md` reports, run on CIFAR-100 from the shipped bundle and written into it.

    python -m training.studies.results DATA OUT

DATA holds the folders `train` and `test` of CIFAR-100 and the OOD sets `cifar10`, `textures` and `omniglot`. Commands
run as processes of one thread, as many at a time as there are cores; what is finished in OUT is not run again. Tables
stand in RESULTS.md between `<!-- begin NAME -->` and `<!-- end NAME -->`; only those lines are replaced. Pictures
go to `training/figures/`.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from service.bundle import read_bundle
from training.data.sets import read_data_set
from training.errors import TrainingError
from training.files import write_text
from training.progress import say
from training.reproduction import LEDGER
from training.weights.shipped import SHIPPED_BUNDLE

RESULTS = Path(__file__).parents[1] / "RESULTS.md"
PICTURES = Path(__file__).parents[1] / "figures"
OOD_SETS = ("cifar10", "textures", "omniglot")
STUDIES = ("backbones", "classes", "classes-fixed-total", "grouping", "groups", "blocks")
SMALLER_BACKBONES = {"R11-tiny": 6, "R26-s2": 3}  # epochs
REPEATED = {"classes", "classes-fixed-total", "grouping", "groups"}  # what they draw by chance matters
REPEATS = 3
BLOCKS_SHARE = 5  # one picture of so many is fitted on in the study of opened blocks
TAXONOMY = ("--grouping", "taxonomy:cifar100")

Command = tuple[str, ...]


def main(data: Path, out: Path) -> None:
    """Run what is missing and write the tables and pictures."""
    out.mkdir(parents=True, exist_ok=True)
    _link_share(data / "train", out / "pictures")
    commands = {"evaluate": _evaluate(data, out)} | {name: _train(data, out, name) for name in SMALLER_BACKBONES}
    _run_all(commands, out)
    # The first study fills the feature caches that the others share.
    _run_all({STUDIES[0]: _ablate(STUDIES[0], data, out)}, out)
    _run_all({study: _ablate(study, data, out) for study in STUDIES[1:]}, out)
    write_up(out)


def write_up(out: Path) -> None:
    """Put the tables of a finished OUT into RESULTS.md and its pictures beside it."""
    PICTURES.mkdir(exist_ok=True)
    tables = {"ledger": _ledger(), "machine": _machine(out)}
    for name in ("evaluate", *STUDIES):
        tables[name] = re.sub("^## ", "### ", (out / name / "results.md").read_text("utf-8"), flags=re.MULTILINE)
        for picture in (out / name).glob("*.png"):
            shutil.copyfile(picture, PICTURES / f"{name}-{picture.name}")
    text = RESULTS.read_text("utf-8")
    for name, table in tables.items():
        text = put(text, name, table.strip())
    write_text(RESULTS, text)


def put(text: str, name: str, table: str) -> str:
    """`text` of RESULTS.md with a table between its markers. Raises TrainingError where there are none."""
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    if begin not in text or end not in text:
        raise TrainingError(f"{RESULTS} has no place for {name}; write {begin} and {end} where its table belongs.")
    return re.sub(f"{begin}.*?{end}", lambda _: f"{begin}\n{table}\n{end}", text, flags=re.DOTALL)


def _run_all(commands: dict[str, Command], out: Path) -> None:
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for _ in pool.map(lambda name: _run(name, commands[name], out), commands):
            pass


def _run(name: str, command: Command, out: Path) -> None:
    """Run a command unless it was finished, with its log in OUT/NAME.log, and note how long it took."""
    note = out / f"{name}.seconds"
    if note.exists():
        return
    say(f"results: {name}")
    start = time.monotonic()
    with (out / f"{name}.log").open("w") as log:
        arguments = [sys.executable, "-m", "training", *command]
        done = subprocess.run(arguments, stdout=log, stderr=log, env={**os.environ, "OMP_NUM_THREADS": "1"})
    if done.returncode:
        raise TrainingError(f"{' '.join(arguments)} failed; read {log.name} and run this again.")
    note.write_text(json.dumps(round(time.monotonic() - start)), "utf-8")


def _evaluate(data: Path, out: Path) -> Command:
    return ("evaluate", "--bundle", str(SHIPPED_BUNDLE), *_sets(data), "--out", str(out / "evaluate"), "--record")


def _train(data: Path, out: Path, backbone: str) -> Command:
    where = ("--data", str(data / "train"), "--out", str(out / "trained" / backbone))
    size = str(read_bundle(SHIPPED_BUNDLE).manifest.input.height)
    epochs = str(SMALLER_BACKBONES[backbone])
    return (
        "train",
        *where,
        "--open-blocks",
        "all",
        "--backbone",
        backbone,
        *TAXONOMY,
        "--size",
        size,
        "--epochs",
        epochs,
        "--bf16",
    )


def _ablate(study: str, data: Path, out: Path) -> Command:
    fitted = out / "pictures" if study == "blocks" else data / "train"
    weights = ["--weights", str(SHIPPED_BUNDLE)]
    if study == "backbones":
        for name in SMALLER_BACKBONES:
            weights += ["--weights", str(out / "trained" / name / "network.pt")]
    where = ("--data", str(fitted), *_sets(data), "--out", str(out / study), "--features", str(out / "features"))
    repeats = ("--repeats", str(REPEATS)) if study in REPEATED else ()
    return ("ablate", study, *where, *weights, *TAXONOMY, "--bf16", *repeats)


def _sets(data: Path) -> Command:
    return ("--id", str(data / "test"), *(part for name in OOD_SETS for part in ("--ood", f"{name}={data / name}")))


def _link_share(data: Path, folder: Path) -> None:
    """A data set of every BLOCKS_SHARE-th picture, as links."""
    for path in read_data_set(data).paths[::BLOCKS_SHARE]:
        link = folder / path
        link.parent.mkdir(parents=True, exist_ok=True)
        if not link.exists():
            link.symlink_to((data / path).resolve())


def _ledger() -> str:
    rows = [
        f"| {row.number} | {row.setting or '-'} | {row.paper} | {row.official} | {row.corrected} |" for row in LEDGER
    ]
    return "\n".join(["| | setting | paper | official | corrected |", "|---|---|---|---|---|", *rows])


def _machine(out: Path) -> str:
    minutes = {note.stem: json.loads(note.read_text("utf-8")) / 60 for note in sorted(out.glob("*.seconds"))}
    times = ", ".join(f"{name} {value:.1f}" for name, value in minutes.items())
    return (
        f"{os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}. "
        f"Minutes, one thread each and as many at a time as there are cores: {times}."
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
