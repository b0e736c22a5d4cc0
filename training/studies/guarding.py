"""What makes the guard guard: which statistic, which foreign pictures, which features; and MSP against MOS as classes
are added to features that know the world. Guards are heads on cached features of frozen networks.

    python -m training.studies.guarding DATA OUT BUNDLE

DATA holds the folder `train` of CIFAR-100, `outliers` (97 classes at 64 pixels) and the foreign sets `cifar10`,
`textures`, `omniglot` and `photos`; the network of BUNDLE is one that has met neither ImageNet nor any of these but the
first. Features and guards that are finished in OUT are not made again; the tables go into RESULTS.md. Everything is
done three times, with classes, split, procedural pictures and fit drawn anew. Strangers are scaled to the size of the
guard's own pictures.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from service.bundle import read_bundle
from training.bundling import siblings
from training.data import pixels
from training.data.sets import DataSet, read_data_set, read_pictures
from training.files import write_text
from training.fitting.recipes import heads
from training.model.efficientnet_lite import LITE0
from training.studies.guard_material import (
    FOREIGN_A_STEP,
    Classes,
    Frozen,
    Own,
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
from training.weights.reading import find_weights

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
LITE_SMALL, LITE_LARGE, WITHOUT_IMAGENET = "EfficientNet-Lite0, 128 px", "EfficientNet-Lite0, 160 px", "R35-s2, 32 px"
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

    def foreign_sets(self, names: Sequence[str], network: Frozen, own: DataSet) -> dict[str, Features]:
        """The features of foreign sets, scaled to the size of the pictures of `own`."""
        side = own_side(own)
        return {
            name: network.features(f"{name}-{side}", Scaled(read_pictures(self.data / name), side)) for name in names
        }


class Drawn(NamedTuple):
    """The classes of a draw, and the pictures of those that guards know."""

    classes: Classes
    own: Own


def main(data: Path, out: Path, bundle: Path) -> None:
    """Fit and judge the guards that are missing, and write the tables."""
    folder = out / "features"
    side = read_bundle(bundle).manifest.input.height
    networks = {
        LITE_SMALL: frozen(find_weights(LITE0), 128, folder),
        LITE_LARGE: frozen(find_weights(LITE0), 160, folder),
        WITHOUT_IMAGENET: frozen(bundle, side, folder),
    }
    cifar = at_most(read_data_set(data / "train"), PICTURES_A_CLASS)
    bench = Bench(data, read_data_set(data / "outliers"), cifar, networks)
    found: dict[str, list[Figures]] = defaultdict(list)
    for study in (_networks, _growing, _foreign_pictures):
        for seed in SEEDS:
            for name, judge in study(bench, seed):
                found[name].append(kept(out / "guards" / f"{name}, {seed}.json", judge))
    write_up(found, out)


def write_up(found: Mapping[str, list[Figures]], out: Path) -> None:
    """Put the tables into RESULTS.md, and into OUT."""
    near, growing = (SIBLINGS, DEVELOPMENT), [*(f"CIFAR-100, {count}" for count in CLASS_COUNTS), WHOLE]
    of_imagenet = {name: found[f"{name}, procedural"] for name in (LITE_SMALL, LITE_LARGE)}
    without_imagenet = {WITHOUT_IMAGENET: found[f"{WITHOUT_IMAGENET}, procedural"]}
    kinds = {kind: found[f"{LITE_SMALL}, {kind}"] for kind in KINDS}
    tables = {
        "guard-statistics": guards_table({"procedural": kinds["procedural"]}, STATISTICS, near, STRANGERS),
        "guard-outliers": guards_table(kinds, FEW, near, STRANGERS),
        "guard-families": families_table(found, LITE_SMALL, ("mos", DEFAULT), STRANGERS),
        "guard-imagenet": guards_table(of_imagenet, FEW, near, STRANGERS),
        "guard-without-imagenet": guards_table(without_imagenet, FEW, near, STRANGERS),
        "guard-classes": guards_table({name: found[name] for name in growing}, FEW, (), NEVER_SEEN),
        "guard-siblings": foretold_table(found["siblings"], kinds["procedural"], DEFAULT, SIBLINGS),
    }
    write_text(out / "tables.md", "\n\n".join(f"{name}\n\n{table}" for name, table in tables.items()))
    text = RESULTS.read_text("utf-8")
    for name, table in tables.items():
        text = put(text, name, table)
    write_text(RESULTS, text)


def _networks(bench: Bench, seed: int) -> Iterator[Job]:
    """The default guard of thirty classes of `outliers` on each network; on the first, unseen siblings foretold."""
    drawn = _draw(bench, seed)
    for name, network in bench.networks.items():
        features = network.features("outliers", pixels.Pictures(bench.outliers))
        foreign = [(network.features(f"procedural-{seed}", procedural(drawn.own, seed)), FOREIGN_A_STEP)]
        own = drawn.own.pictures(features, foreign)
        statistics = STATISTICS if name == LITE_SMALL else FEW
        yield f"{name}, procedural", partial(_judge, own, statistics, _strangers(bench, drawn, network), seed)
        if name == LITE_SMALL:
            yield "siblings", partial(_foretell, own, seed)


def _foreign_pictures(bench: Bench, seed: int) -> Iterator[Job]:
    """The same classes on the first network, fitted with every other kind of foreign pictures."""
    network, drawn = bench.networks[LITE_SMALL], _draw(bench, seed)
    features = network.features("outliers", pixels.Pictures(bench.outliers))
    made = network.features(f"procedural-{seed}", procedural(drawn.own, seed))
    photographs = features[np.isin(bench.outliers.labels, drawn.classes.exposed)]
    strangers = _strangers(bench, drawn, network)
    for kind, foreign in foreign_kinds(made, photographs).items():
        yield f"{LITE_SMALL}, {kind}", partial(_judge, drawn.own.pictures(features, foreign), FEW, strangers, seed)


def _draw(bench: Bench, seed: int) -> Drawn:
    """The same for every network: near copies are found by the features of the first."""
    classes = draw_classes(len(bench.outliers.classes), seed)
    features = bench.networks[LITE_SMALL].features("outliers", pixels.Pictures(bench.outliers))
    return Drawn(classes, own_pictures(bench.outliers, features, classes.known, seed))


def _strangers(bench: Bench, drawn: Drawn, network: Frozen) -> dict[str, Features]:
    """Siblings, other classes and foreign sets."""
    features, labels = network.features("outliers", pixels.Pictures(bench.outliers)), bench.outliers.labels
    return {
        SIBLINGS: features[np.isin(labels, drawn.classes.unseen)],
        DEVELOPMENT: features[np.isin(labels, drawn.classes.development)],
        **bench.foreign_sets(STRANGERS, network, bench.outliers),
    }


def _growing(bench: Bench, seed: int) -> Iterator[Job]:
    """Guards of more and more classes, each with those of the one before, fitted without foreign pictures."""
    network = bench.networks[LITE_SMALL]
    for name, whole, counts in (("CIFAR-100", bench.cifar, CLASS_COUNTS), ("outliers", bench.outliers, (None,))):
        features = network.features(name.lower(), pixels.Pictures(whole))
        strangers = bench.foreign_sets(NEVER_SEEN, network, whole)
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
    main(*map(Path, sys.argv[1:]))
