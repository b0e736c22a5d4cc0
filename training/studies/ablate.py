"""The paper's ablations on the user's own data: one command a study, on cached features wherever that is exact.

The folder of a sweep:
study.json           what the sweep is of; another sweep's folder is refused
features/            feature caches, one for each backbone and data set
trials/NAME/          finished trials, see training/trials.py
runs/NAME/           runs of the study of opened blocks, which fits on pictures
results.json .md .csv  figure.png
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.data.pixels import Pictures
from training.data.sets import DataSet, read_data_set, read_pictures
from training.errors import DataError, SettingError
from training.files import write_text
from training.fitting.extraction import Views, cached_features, extract_all
from training.fitting.recipes import Recipe, one_cycle
from training.fitting.run import RunConfig, load_run
from training.fitting.train import train
from training.grouping.groups import Grouping, from_tree
from training.grouping.strategies import grouping_of
from training.grouping.taxonomy import built_in_levels
from training.model.backbones import backbone
from training.progress import say
from training.reproduction import Settings
from training.studies import designs
from training.studies.designs import STUDIES
from training.studies.report import write_report
from training.studies.trials import Material, Trial, run_trial, write_trial
from training.weights.reading import backbone_name, read_backbone

HEAD_EPOCHS = 20
BLOCK_EPOCHS = 2
HEAD_BATCH = 256


@dataclass(frozen=True)
class Sweep:
    """What a person asked for. `values` are the study's own numbers, empty for its defaults."""

    study: str
    data: Path
    id_path: Path
    ood_paths: Mapping[str, Path]
    weights: tuple[Path, ...]
    grouping: str | None
    size: int
    out: Path
    features: Path | None = None  # folder of feature caches that several studies may share; None is `out`/features
    values: tuple[int, ...] = ()
    epochs: int | None = None
    repeats: int = 1
    bf16: bool = False
    seed: int = 0


def ablate(sweep: Sweep) -> None:
    """Run every trial of a study that is not there yet, then write its table and picture.

    Raises SettingError for a study or values that do not exist, DataError for a folder of another sweep.
    """
    if sweep.study not in STUDIES:
        raise SettingError(f"There is no study {sweep.study!r}; choose one of {', '.join(STUDIES)}.")
    _claim(sweep)
    for seed in range(sweep.seed, sweep.seed + sweep.repeats):
        if sweep.study == "blocks":
            _open_blocks(sweep, seed)
        else:
            _on_features(sweep, seed)
    write_report(STUDIES[sweep.study], sweep.out)


def _on_features(sweep: Sweep, seed: int) -> None:
    recipe = one_cycle(epochs=sweep.epochs or HEAD_EPOCHS, batch_size=HEAD_BATCH, seed=seed)
    for weights in sweep.weights if sweep.study == "backbones" else sweep.weights[:1]:
        material = _material(sweep, weights)
        for trial in _trials(sweep, material, seed):
            say(f"{sweep.study}: {trial.name}")
            run_trial(trial, material, _fitting(recipe, trial), sweep.out / "trials")


def _fitting(recipe: Recipe, trial: Trial) -> Recipe:
    """Few pictures are seen as often as many, in smaller batches."""
    return replace(recipe, batch_size=min(recipe.batch_size, max(8, len(trial.rows) // 20)))


def _trials(sweep: Sweep, material: Material, seed: int) -> Iterable[Trial]:
    taxonomy = _grouping(sweep, material.train, seed)

    def of_classes(classes: NDArray[np.int64]) -> Grouping:
        tree = {
            name: [material.train.classes[index] for index in members]
            for name, members in zip(taxonomy.names, taxonomy.members, strict=True)
        }
        return from_tree(tree, [material.train.classes[index] for index in classes])

    if sweep.study.startswith("classes"):
        fixed_total = sweep.study == "classes-fixed-total"
        return designs.number_of_classes(material, sweep.values, of_classes, seed, fixed_total=fixed_total)
    if sweep.study == "grouping":
        return designs.grouping_strategies(material, taxonomy, seed)
    if sweep.study == "groups":
        return designs.number_of_groups(material, sweep.values, _levels(sweep, material.train, seed), seed)
    return [designs.backbone_trial(material, taxonomy, seed)]


def _grouping(sweep: Sweep, data: DataSet, seed: int) -> Grouping:
    if sweep.grouping is None and data.superclasses is None:
        raise SettingError("A study needs a taxonomy; name --grouping taxonomy:NAME or taxonomy:FILE.")

    def no_means() -> NDArray[np.float32]:
        raise SettingError("The taxonomy of a study cannot be clusters; name --grouping taxonomy:NAME or FILE.")

    return grouping_of(sweep.grouping, data.classes, data.superclasses, no_means, seed=seed)


def _levels(sweep: Sweep, data: DataSet, seed: int) -> list[Grouping]:
    """The taxonomy at each of its levels, where it is a built-in one that has several."""
    if sweep.grouping is None or not sweep.grouping.startswith("taxonomy:") or Path(sweep.grouping).suffix:
        return [_grouping(sweep, data, seed)]
    levels = built_in_levels(sweep.grouping.split(":")[1])
    return [_grouping(replace(sweep, grouping=f"{sweep.grouping}:{level}"), data, seed) for level in levels]


def _material(sweep: Sweep, weights: Path) -> Material:
    name = backbone_name(weights)
    extractor = backbone(name)
    read_backbone(weights, extractor)
    folder = (sweep.features or sweep.out / "features") / extractor.sha256()[:12]
    data, id_data, ood_data = _read(sweep)

    def features(part: DataSet, called: str, views: int = 1) -> NDArray[np.float32]:
        return cached_features(folder / called, extractor, Pictures(part), sweep.size, Views(views), bf16=sweep.bf16)

    return Material(
        _label(sweep, weights),
        data,
        features(data, "train", views=2),
        id_data,
        features(id_data, "id")[0],
        {called: features(part, f"ood-{called}")[0] for called, part in ood_data.items()},
    )


def _label(sweep: Sweep, weights: Path) -> str:
    """The backbone's name, and the weights' where several are of one kind."""
    names = [backbone_name(source) for source in sweep.weights]
    name = backbone_name(weights)
    return name if names.count(name) == 1 else f"{name} {weights.parent.name if weights.is_file() else weights.name}"


def _read(sweep: Sweep) -> tuple[DataSet, DataSet, dict[str, DataSet]]:
    data = read_data_set(sweep.data)
    ood_data = {name: read_pictures(path) for name, path in sweep.ood_paths.items()}
    return data, read_data_set(sweep.id_path, data.classes), ood_data


def _open_blocks(sweep: Sweep, seed: int) -> None:
    """Fit on pictures with each number of opened blocks, everything last; exact, so the frozen one is online too."""
    weights = sweep.weights[0]
    name = backbone_name(weights)
    data, id_data, ood_data = _read(sweep)
    blocks = backbone(name).block_count
    counts: Sequence[int | None] = sweep.values or [*range(blocks + 1), None]
    for count in counts:
        called = "all" if count is None else str(count)
        varied: dict[str, str | int] = {"blocks": called, "seed": seed}
        trial = Trial(varied, np.empty(0, np.int64), np.empty(0, np.int64), _grouping(sweep, data, seed))
        folder = sweep.out / "trials" / trial.name
        if folder.is_dir():
            continue
        say(f"blocks: {trial.name}")
        run = sweep.out / "runs" / trial.name
        config = _run_config(sweep, run, name, count, seed)
        train(config, config.read())
        network = load_run(run).network
        features = {
            called: extract_all(network.backbone, Pictures(part), sweep.size, bf16=sweep.bf16).numpy()
            for called, part in {"id": id_data, **ood_data}.items()
        }
        write_trial(varied, network, features, id_data.labels, folder, seed)


def _run_config(sweep: Sweep, run: Path, name: str, count: int | None, seed: int) -> RunConfig:
    epochs = sweep.epochs or BLOCK_EPOCHS
    return RunConfig(
        data=sweep.data,
        out=run,
        backbone=name,
        weights=sweep.weights[0],
        open_blocks=count,
        online=True,
        grouping=sweep.grouping,
        size=sweep.size,
        load_size=sweep.size,
        features=None,
        views=1,
        calibration=0.0,
        validation=0.0,
        recipe=one_cycle(epochs=epochs, learning_rate=0.02, bf16=sweep.bf16, seed=seed),
        settings=Settings(),
    )


def _claim(sweep: Sweep) -> None:
    """Note what this folder is of, or make sure that it is of this sweep."""
    labels = [_label(sweep, weights) for weights in sweep.weights]
    if len(set(labels)) < len(labels):
        raise SettingError("Two of --weights have one name; put each in a folder of its own name.")
    file = sweep.out / "study.json"
    asked = {
        name: value for name, value in asdict(sweep).items() if name not in ("out", "features", "values", "repeats")
    }
    said = json.loads(json.dumps(asked, default=str))
    if file.is_file() and json.loads(file.read_text("utf-8")) != said:
        raise DataError(f"{sweep.out} holds another study; name another --out, or the same options to go on with it.")
    write_text(file, json.dumps(said, indent=1))
