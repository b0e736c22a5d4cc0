"""One trial of an ablation: heads fitted for one choice of classes, pictures and groups, and what they score.

A trial is a folder: `trial.json` (what was varied, top-1, figures), `results.json` and `scores.npz` as `evaluate`
writes them. It is renamed into place when it is whole, so a sweep that was interrupted does not repeat what is there.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from training.data.sets import DataSet
from training.detectors import DETECTORS, Head, Outputs
from training.errors import DataError
from training.evaluation.intervals import compare
from training.fitting.batches import feature_batches
from training.fitting.loop import fit
from training.fitting.recipes import Recipe
from training.grouping.groups import Grouping
from training.model.network import Heads

DETECTORS_COMPARED = ("mos", "msp", "energy")
Varied = dict[str, str | int]


@dataclass(frozen=True)
class Material:
    """The features of one backbone: of labelled pictures to fit on (V, N, D), of test pictures and of OOD sets."""

    backbone: str
    train: DataSet
    train_views: NDArray[np.float32]
    id_data: DataSet
    id_features: NDArray[np.float32]
    ood_features: Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Trial:
    """`classes` are those of the data that take part, `rows` the pictures to fit on, `grouping` is of `classes`."""

    varied: Varied
    classes: NDArray[np.int64]
    rows: NDArray[np.int64]
    grouping: Grouping

    @property
    def name(self) -> str:
        """Of its folder."""
        return " ".join(f"{key}={value}" for key, value in self.varied.items()).replace("/", "-")


def run_trial(trial: Trial, material: Material, recipe: Recipe, folder: Path) -> None:
    """Fit the heads of a trial on cached features and write it; a trial that is there already is left alone."""
    if (folder / trial.name).is_dir():
        return
    place = np.full(len(material.train.classes), -1)
    place[trial.classes] = np.arange(len(trial.classes))
    labels = place[material.train.labels[trial.rows]]
    batches = feature_batches(material.train_views, trial.rows, labels, recipe)
    torch.manual_seed(recipe.seed)
    heads = Heads(material.train_views.shape[2], trial.grouping)
    scratch = folder / f"{trial.name}.fit"
    scratch.mkdir(parents=True, exist_ok=True)
    heads = fit(heads, batches, recipe, scratch, lambda _: "", on_features=True)
    chosen = np.isin(material.id_data.labels, trial.classes)
    features = {"id": material.id_features[chosen], **material.ood_features}
    write_trial(trial.varied, heads, features, place[material.id_data.labels[chosen]], folder / trial.name, recipe.seed)
    shutil.rmtree(scratch)


def write_trial(
    varied: Varied,
    heads: Heads,
    features: Mapping[str, NDArray[np.float32]],
    labels: NDArray[np.int64],
    folder: Path,
    seed: int,
) -> None:
    """Score the features (N, D) of each set, `id` with its labels, and write the folder of a trial."""
    scores = {name: _scores(heads, rows) for name, rows in features.items()}
    scores["id"]["labels"] = labels
    ood_names = [name for name in features if name != "id"]
    results, averages = {}, {}
    for detector in DETECTORS_COMPARED:
        ood_scores = {name: scores[name][detector] for name in ood_names}
        results[detector], averages[detector] = compare(scores["id"][detector], ood_scores, ood_names, "paper", seed)
    top1 = {name: float((scores["id"][f"{name}_class"] == labels).mean()) for name in ("group", "flat")}
    draft = folder.with_name(folder.name + ".partial")
    try:
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        arrays = {f"{name}/{key}": value for name, values in scores.items() for key, value in values.items()}
        np.savez(draft / "scores.npz", **arrays)  # type: ignore[arg-type]
        (draft / "results.json").write_text(json.dumps(results, indent=1), "utf-8")
        trial = {"varied": varied, "top1": top1, "results": results, "averages": averages}
        (draft / "trial.json").write_text(json.dumps(trial, indent=1), "utf-8")
        draft.replace(folder)
    except OSError as error:
        shutil.rmtree(draft, ignore_errors=True)
        raise DataError(
            f"The trial {folder} cannot be written ({error.strerror}); free space and run the same command again."
        ) from error


def read_trials(folder: Path) -> list[dict[str, Any]]:
    """The content of every finished trial's `trial.json`."""
    files = sorted(file for file in folder.glob("*/trial.json") if not file.parent.name.endswith(".partial"))
    return [json.loads(file.read_text("utf-8")) for file in files]


def _scores(heads: Heads, rows: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
    features = torch.from_numpy(np.array(rows))
    with torch.no_grad():
        flat, logits = heads.flat(features), heads.group(features)
        probabilities, others = heads.group.probabilities(logits)
    head = Head(heads.flat.weight.detach().numpy(), heads.flat.bias.detach().numpy())
    outputs = Outputs(rows, others.numpy(), flat.numpy(), head)
    values: dict[str, NDArray[Any]] = {
        "logits": logits.numpy(),
        "flat_logits": flat.numpy(),
        "group_class": probabilities.argmax(dim=1).numpy(),
        "flat_class": flat.argmax(dim=1).numpy(),
    }
    return values | {name: DETECTORS[name].score(outputs, {}) for name in DETECTORS_COMPARED}
