"""Millions of file names in two arrays: a Python string each would cost ten times as much in every worker process."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Paths(Sequence[str]):
    """N strings, read like a tuple of them."""

    text: NDArray[np.uint8]  # all of them as UTF-8, one after the other
    ends: NDArray[np.int64]  # (N,) where each ends in `text`

    @classmethod
    def of(cls, paths: Iterable[str]) -> Paths:
        """Pack strings as they come; no list of them is held."""
        text, ends = bytearray(), array("q")
        for path in paths:
            text += path.encode(errors="surrogateescape")
            ends.append(len(text))
        return cls(np.frombuffer(text, np.uint8), np.array(ends, np.int64))

    def __len__(self) -> int:
        return len(self.ends)

    def __iter__(self) -> Iterator[str]:
        return (self._at(index) for index in range(len(self)))

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self._at(place) for place in range(*index.indices(len(self)))]
        return self._at(range(len(self))[index])

    def select(self, indices: NDArray[np.int64]) -> Paths:
        """The paths at `indices` (n,), in that order."""
        return Paths.of(self._at(int(index)) for index in indices)

    def _at(self, index: int) -> str:
        start = self.ends[index - 1] if index else 0
        return self.text[start : self.ends[index]].tobytes().decode(errors="surrogateescape")
