"""What makes the guard guard: which statistic, which foreign pictures, which features; and MSP against MOS as classes
are added to features that know the world. Guards are heads on cached features of frozen networks.

    python -m training.studies.guarding DATA OUT

DATA holds the folder `train` of CIFAR-100, `outliers` (97 classes at 64 pixels) and the foreign sets `cifar10`,
`textures`, `omniglot` and `photos`. Features and guards that are finished in OUT are not made again; the tables go into
RESULTS.md. Everything is done three times, with classes, split, procedural pictures and fit drawn anew. Strangers are
scaled to the size of the guard's own pictures.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from service.bundle import read_bundle
from training.bundling import siblings
from training.data import pixels
from training.data.sets import DataSet, read_data_set, read_pictures
from training.files import write_text
from training.fitting.recipes import heads
from training.model.efficientnet_lite import LITE0
from training.studies.guard_material import (
    Frozen,
    Scaled,
    at_most,
    clusters,
    draw_classes,
    foreign_kinds,
    frozen,
    own_pictures,
    own_side,
    procedural,
)
from training.studies.guard_tables import families_table, foretold_table, guards_table
from training.studies.guards import Features, Figures, judge_guard, kept
from training.studies.results import RESULTS, put
from training.weights.reading import SHIPPED_BUNDLE, find_weights

SEEDS = (0, 1, 2)
DEFAULT = "mos+logit+residual+cosine"
"""What decides on a user's own pictures."""
PARTS = ("mos", "logit", "knn", "residual", "cosine")
JOINS = ("mos+knn", "logit+knn", "residual+cosine", "logit+residual+cosine", DEFAULT)
STATISTICS = ("msp", "energy", *PARTS, *JOINS)
FEW = ("msp", "mos", DEFAULT)
STRANGERS = ("textures", "photos", "omniglot", "cifar10")
NEVER_SEEN = ("textures", "omniglot", "cifar10")
"""Without `photos`, which shows classes that ImageNet features have seen."""
SIBLINGS, DEVELOPMENT = "unseen siblings", "other classes"
LITE_SMALL, LITE_LARGE, SHIPPED = "EfficientNet-Lite0, 128 px", "EfficientNet-Lite0, 160 px", "shipped R35-s2, 32 px"
CLASS_COUNTS = (10, 25, 50, 100)
PICTURES_A_CLASS = 100  # of CIFAR-100
WHOLE = "outliers, all 97"
KINDS = ("none", "procedural", "photographs", "both")

Job = tuple[str, Callable[[], Figures]]
"""The name of a guard, and how to fit and judge it."""


@dataclass(frozen=True)
class Bench:
    """What all guards share."""

    data: Path
    outliers: DataSet
    cifar: DataSet
    networks: Mapping[str, Frozen]

    def strangers(self, names: Sequence[str], network: Frozen, own: DataSet) -> dict[str, Features]:
        """The features of foreign sets, scaled to the size of the pictures of `own`."""
        side = own_side(own)
        return {
            name: network.features(f"{name}-{side}", Scaled(read_pictures(self.data / name), side)) for name in names
        }


def main(data: Path, out: Path) -> None:
    """Fit and judge the guards that are missing, and write the tables."""
    folder = out / "features"
    shipped = read_bundle(SHIPPED_BUNDLE).manifest.input.height
    networks = {
        LITE_SMALL: frozen(find_weights(LITE0), 128, folder),
        LITE_LARGE: frozen(find_weights(LITE0), 160, folder),
        SHIPPED: frozen(SHIPPED_BUNDLE, shipped, folder),
    }
    cifar = at_most(read_data_set(data / "train"), PICTURES_A_CLASS)
    bench = Bench(data, read_data_set(data / "outliers"), cifar, networks)
    found: dict[str, list[Figures]] = defaultdict(list)
    for seed in SEEDS:
        for jobs in (_drawn(bench, seed), _growing(bench, seed)):
            for name, judge in jobs:
                found[name].append(kept(out / "guards" / f"{name}, {seed}.json", judge))
    write_up(found, out)


def write_up(found: Mapping[str, list[Figures]], out: Path) -> None:
    """Put the tables into RESULTS.md, and into OUT."""
    near, growing = (SIBLINGS, DEVELOPMENT), [*(f"CIFAR-100, {count}" for count in CLASS_COUNTS), WHOLE]
    by_network = {name: found[f"{name}, procedural"] for name in (LITE_SMALL, LITE_LARGE, SHIPPED)}
    shipped = {SHIPPED: by_network.pop(SHIPPED)}
    kinds = {kind: found[f"{LITE_SMALL}, {kind}"] for kind in KINDS}
    tables = {
        "guard-statistics": guards_table({"procedural": kinds["procedural"]}, STATISTICS, near, STRANGERS),
        "guard-outliers": guards_table(kinds, FEW, near, STRANGERS),
        "guard-families": families_table(found, LITE_SMALL, ("mos", DEFAULT), STRANGERS),
        "guard-imagenet": guards_table(by_network, FEW, near, STRANGERS),
        "guard-shipped": guards_table(shipped, FEW, near, STRANGERS),
        "guard-classes": guards_table({name: found[name] for name in growing}, FEW, (), NEVER_SEEN),
        "guard-siblings": foretold_table(found["siblings"], kinds["procedural"], DEFAULT, SIBLINGS),
    }
    write_text(out / "tables.md", "\n\n".join(f"{name}\n\n{table}" for name, table in tables.items()))
    text = RESULTS.read_text("utf-8")
    for name, table in tables.items():
        text = put(text, name, table)
    write_text(RESULTS, text)


def _drawn(bench: Bench, seed: int) -> Iterator[Job]:
    """Guards of thirty classes of `outliers`: on every network, and on the first with all foreign pictures."""
    whole = bench.outliers
    classes = draw_classes(len(whole.classes), seed)
    first = bench.networks[LITE_SMALL].features("outliers", pixels.Pictures(whole))
    own = own_pictures(whole, first, classes.known, seed)
    for name, network in bench.networks.items():
        features = network.features("outliers", pixels.Pictures(whole))
        strangers = {
            SIBLINGS: features[np.isin(whole.labels, classes.unseen)],
            DEVELOPMENT: features[np.isin(whole.labels, classes.development)],
            **bench.strangers(STRANGERS, network, whole),
        }
        made = network.features(f"procedural-{seed}", procedural(own, seed))
        for kind, foreign in foreign_kinds(made, features[np.isin(whole.labels, classes.exposed)]).items():
            if name != LITE_SMALL and kind != "procedural":
                continue
            statistics = STATISTICS if kind == "procedural" else FEW
            yield f"{name}, {kind}", partial(_judge, own.pictures(features, foreign), statistics, strangers, seed)
            if name == LITE_SMALL and kind == "procedural":
                yield "siblings", partial(_foretell, own.pictures(features, foreign), seed)


def _growing(bench: Bench, seed: int) -> Iterator[Job]:
    """Guards of more and more classes, each with those of the one before, fitted without foreign pictures."""
    network = bench.networks[LITE_SMALL]
    for name, whole, counts in (("CIFAR-100", bench.cifar, CLASS_COUNTS), ("outliers", bench.outliers, (None,))):
        features = network.features(name.lower(), pixels.Pictures(whole))
        strangers = bench.strangers(NEVER_SEEN, network, whole)
        order = np.random.default_rng(seed).permutation(len(whole.classes))
        for count in counts:
            own = own_pictures(whole, features, order[:count], seed).pictures(features)
            called = f"all {len(order)}" if count is None else str(count)
            yield f"{name}, {called}", partial(_judge, own, FEW, strangers, seed)


def _judge(own: siblings.Pictures, statistics: Sequence[str], strangers: Mapping[str, Features], seed: int) -> Figures:
    return judge_guard(own, clusters(own, seed), heads(len(own.fitted), seed=seed), statistics, strangers)


def _foretell(own: siblings.Pictures, seed: int) -> Figures:
    """What `train` tells of unseen siblings from the known classes alone."""
    found = siblings.siblings(own, clusters(own, seed), heads(len(own.fitted), seed=seed), DEFAULT)
    assert found is not None, "thirty classes are enough. This is a bug."
    return found.as_json()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
