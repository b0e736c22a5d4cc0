"""Series: pictures that were photographed together and so belong on one side of every split.

A threshold that is set on near copies of what was fitted promises too much of any other place. Series are known from
the pictures' paths, or found: near copies within a class, by the cosine of any descriptor. No torch: `calibrate` uses
the pattern too.

Legend: N pictures, D numbers that describe one, n pictures of one class.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from training.data.sets import DataSet
from training.errors import DataError, SettingError

Series = NDArray[np.int64]
"""(N,): pictures of one number belong together."""

THUMBNAIL_NEAR = 0.95
"""Finds what was resized, encoded anew or lit otherwise (1.00, 1.00 and 0.96 to 1.00 of such copies, whatever their
size), not what was cropped; holds 0.0001 and 0.000002 of the pairs of a class of CIFAR-100 and of photographs at 64
pixels for near copies, and 0.0002 of groceries on shelves."""
FEATURE_NEAR = 0.72
"""Less their mean, and of an ImageNet network. Finds crops by 5 and by 10 % (1.00 of groceries at 160 pixels, 0.97 and
0.91 of photographs at 64), and holds 0.002 and 0.0004 of the pairs of a class of CIFAR-100 and of such photographs for
near copies. Groceries come out as a third as many series as pictures; nearest neighbour and class score as one number,
calibrated to keep 95 %, keeps 0.95 of the pictures from other shops in place of 0.90 after a random split."""
COPY_NEAR = 0.99
"""Of thumbnails; finds what was resized or encoded anew (1.00)."""
BLOCK = 1024  # pictures of a class that are compared with the others at one time


@dataclass(frozen=True)
class Likeness:
    """Numbers that describe each picture, and the cosine of two, less `centre`, from which on these are near copies."""

    values: NDArray[np.generic]  # (N, D), which may lie on the disk
    centre: NDArray[np.float32]  # (D,)
    near: float

    def unit(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """The pictures at `rows` (n,) as vectors (n, D) of length 1; one of zeros stays so and is near to none."""
        wide = self.values[rows].astype(np.float32) - self.centre
        scaled: NDArray[np.float32] = wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), 1e-12)
        return scaled


def by_thumbnails(thumbnails: NDArray[np.uint8]) -> Likeness:
    """Grey thumbnails (N, H, W), each less its mean, so that more light is no difference."""
    flat = thumbnails.reshape(len(thumbnails), -1).astype(np.float32)
    return Likeness(flat - flat.mean(axis=1, keepdims=True), np.zeros(flat.shape[1], np.float32), THUMBNAIL_NEAR)


def by_features(features: NDArray[np.floating]) -> Likeness:
    """Features (N, D) of a trained backbone, less their mean: without it each backbone has a scale of its own."""
    return Likeness(features, features.mean(axis=0, dtype=np.float32), FEATURE_NEAR)


def find_series(
    data: DataSet,
    thumbnails: NDArray[np.uint8],
    features: NDArray[np.floating] | None = None,
    group_by: str | None = None,
) -> Series:
    """The series of a data set: what the pattern tells joined with copies, else what looks alike.

    `thumbnails` are grey (N, H, W), `features` (N, D) a trained backbone's, where they are at hand. Beside a pattern
    only copies count: two shelves that merely look alike would join two whole shops. Nor does likeness count where it
    makes most classes one series: it then tells what the classes are, and nothing could be held out.
    """
    small = by_thumbnails(thumbnails)
    copies = near_copies(replace(small, near=COPY_NEAR), data.labels)
    if group_by is not None:
        return joined(by_pattern(data.paths, group_by)[1], copies)
    alike = near_copies(small, data.labels)
    if features is not None:
        alike = joined(alike, near_copies(by_features(features), data.labels))
    return copies if 2 * classes_of_one_series(data.labels, alike) > len(data.classes) else alike


def classes_of_one_series(labels: NDArray[np.int64], series: Series) -> int:
    """How many classes cannot be held out: all their pictures are of one series."""
    pairs = np.unique(np.stack([labels, series], axis=1), axis=0)
    return int((np.unique(pairs[:, 0], return_counts=True)[1] == 1).sum())


def by_pattern(paths: Iterable[str], pattern: str) -> tuple[tuple[str, ...], Series]:
    """Names of series, sorted, and the series of each path: what the first group of `pattern`, or all of it, matches.

    The pattern is searched in the path, whose parts are parted by `/`. Raises SettingError for a pattern that is no
    regular expression, DataError for paths that it does not match.
    """
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise SettingError(f"{pattern!r} is no regular expression ({error}); mend it.") from error
    named = [(path, _name(compiled, path.replace(os.sep, "/"))) for path in paths]
    nameless = [path for path, name in named if name is None]
    if nameless:
        raise DataError(
            f"{pattern!r} tells no series for {len(nameless)} of {len(named)} pictures, {nameless[0]} the first; "
            "write a pattern that matches every path."
        )
    names, series = np.unique(np.array([name for _, name in named]), return_inverse=True)
    return tuple(names.tolist()), series.astype(np.int64).reshape(-1)


def near_copies(likeness: Likeness, labels: NDArray[np.int64]) -> Series:
    """Series of pictures of one class that are linked by near copies.

    Quadratic in the pictures of a class, and in blocks: 1,300 pictures of 1,280 numbers each take a fifth of a second.
    """
    series, count = np.zeros(len(labels), np.int64), 0
    for members in rows_by_label(labels):
        linked = _linked(likeness.unit(members), likeness.near)
        series[members] = linked + count
        count += int(linked.max()) + 1
    return series


def joined(one: Series, *more: Series) -> Series:
    """The finest series that keep together what any of those given keeps together."""
    return reduce(_joined, more, _numbered(one))


def nearest(
    likeness: Likeness, labels: NDArray[np.int64], rows: NDArray[np.int64], others: NDArray[np.int64]
) -> NDArray[np.float32]:
    """The largest cosine of each picture at `rows` (n,) with a picture of its class at `others`; -1 without any."""
    closest = np.full(len(rows), -1, np.float32)
    members = {int(labels[others[places[0]]]): others[places] for places in rows_by_label(labels[others])}
    for places in rows_by_label(labels[rows]):
        label = int(labels[rows[places[0]]])
        if label in members:
            kept = likeness.unit(members[label])
            for some in np.array_split(places, -(-len(places) // BLOCK)):
                closest[some] = (likeness.unit(rows[some]) @ kept.T).max(axis=1)
    return closest


def rows_by_label(labels: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """The rows of each label that there is, in order of labels."""
    order = np.argsort(labels, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(labels[order])) + 1) if len(labels) else []


def _name(pattern: re.Pattern[str], path: str) -> str | None:
    found = pattern.search(path)
    return found[1 if pattern.groups else 0] if found else None


def _linked(rows: NDArray[np.float32], near: float) -> Series:
    """Single-link clusters of unit rows (n, D)."""
    count = len(rows)
    starts = range(0, count, BLOCK)
    pairs = [np.argwhere(rows[start : start + BLOCK] @ rows[: start + BLOCK].T > near) for start in starts]
    offsets = np.repeat(starts, [len(some) for some in pairs])
    edges = np.concatenate(pairs)
    return _components(edges[:, 0] + offsets, edges[:, 1], count)


def _joined(one: Series, other: Series) -> Series:
    """A series of `one` and one of `other` are linked where a picture is in both."""
    right = _numbered(other) + len(one)
    return _numbered(_components(one, right, 2 * len(one))[one])


def _components(one: NDArray[np.int64], other: NDArray[np.int64], count: int) -> Series:
    """The components (count,) of a graph whose edges lead from `one` (E,) to `other`."""
    graph = csr_array((np.ones(len(one), np.int8), (one, other)), shape=(count, count))
    return connected_components(graph, directed=False)[1].astype(np.int64)


def _numbered(series: Series) -> Series:
    """The same series, numbered from 0 without gaps."""
    return np.unique(series, return_inverse=True)[1].astype(np.int64).reshape(-1)
