"""The folder of an evaluation.

results.json         {detector: {OOD set: {metric: value, METRIC_interval: [low, high]}}}, fractions
times.json           test time, milliseconds a picture
scores.npz           `SET/NAME`: model outputs and each detector's scores, from which every figure follows
results.md .csv      tables
*.png                ROC curves, score histograms, mean *others* scores
"""

from __future__ import annotations

import json
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np

from training.errors import DataError
from training.evaluation.evaluate import Evaluation
from training.evaluation.plots import draw
from training.evaluation.tables import tables


def write(evaluation: Evaluation, out: Path) -> None:
    """Write every file of the report. Raises DataError, with nothing changed in `out`, where there is no room."""
    with _draft(out) as draft:
        _write_json(draft / "results.json", evaluation.results)
        _write_json(draft / "times.json", asdict(evaluation.times))
        arrays = {f"{name}/{key}": value for name, values in evaluation.scores.items() for key, value in values.items()}
        np.savez(draft / "scores.npz", **arrays)  # type: ignore[arg-type]
        for name, text in tables(evaluation).items():
            (draft / name).write_text(text, "utf-8")
        draw(evaluation, draft)


@contextmanager
def scratch_folder(out: Path) -> Iterator[Path]:
    """A folder on the disk of `out` for what an evaluation cannot hold in memory; it is removed at the end."""
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    except OSError as error:
        raise DataError(f"Nothing can be written beside {out} ({error.strerror}); name another folder.") from error
    try:
        yield folder
    except OSError as error:
        raise DataError(f"The arrays cannot be kept in {folder} ({error.strerror}); free space there.") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _draft(out: Path) -> Iterator[Path]:
    """A folder beside `out` whose files move there once all are written; what is left of it is removed."""
    if out.exists() and not out.is_dir():
        raise DataError(f"{out} is a file, so no report is written there; name a folder.")
    draft = out.with_name(f".{out.name}.{uuid.uuid4().hex}")
    try:
        draft.mkdir(parents=True)
        yield draft
        out.mkdir(exist_ok=True)
        for file in draft.iterdir():
            file.replace(out / file.name)
    except OSError as error:
        raise DataError(
            f"The report cannot be written to {out} ({error.strerror or error}); free space or name another folder."
        ) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _write_json(file: Path, content: object) -> None:
    file.write_text(json.dumps(content, indent=1) + "\n", "utf-8")
