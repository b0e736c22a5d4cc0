"""Which pictures may set a threshold: none that was fitted on, and each content once.

A model is surer of the pictures it was fitted on, so a threshold that is set on them turns new ones away. A bundle
therefore keeps a hash of each: 8 bytes a picture, 10 MB for ImageNet's 1.3 million. Hashes are of the encoded bytes, so
a fitted picture that was scaled or saved anew is not known again; and whoever has a picture and the bundle can tell
whether it was fitted on. Pictures that were held out may calibrate: their hashes are not kept.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from service.bundle import FITTED_FILE, Bundle
from training.data.contents import content_hashes, copies, equal, listed
from training.data.sets import DataSet
from training.errors import DataError
from training.progress import say


@dataclass(frozen=True)
class Admitted:
    """The pictures that may set a threshold, and what a calibration's `data` says of them."""

    data: DataSet
    rows: NDArray[np.int64]  # (n,) of the set that they were taken from
    hashes: NDArray[np.uint64]  # (n,) of their content
    about: dict[str, JsonValue]


def fitted_file(fitted: DataSet) -> bytes:
    """The content of a bundle's file that knows the pictures that were fitted on."""
    buffer = io.BytesIO()
    np.savez(buffer, content=np.unique(content_hashes(fitted, "hashing fitted pictures")))
    return buffer.getvalue()


def admit(data: DataSet, bundle: Bundle) -> Admitted:
    """Take each content once, and say which pictures are there again.

    A copy tells nothing new and would make n look larger than it is. Raises DataError that names pictures which the
    bundle's model was fitted on.
    """
    fitted, hashes = _fitted_hashes(bundle), content_hashes(data)
    if fitted is None:
        say(f"the bundle has no {FITTED_FILE}, so pictures that it was fitted on cannot be told; see that none is here")
    elif seen := [data.paths[int(row)] for row in np.flatnonzero(np.isin(hashes, fitted))]:
        raise DataError(
            f"{len(seen)} of {len(data)} pictures of {data.root} were fitted on, by their content: {listed(seen)}; "
            "a threshold would promise too much, so take them out."
        )
    if again := copies(hashes):
        say(f"warning: the same picture more than once, {len(again)} times, each counted once: {equal(data, again)}")
    rows = np.sort(np.unique(hashes, return_index=True)[1])
    kept = data.select(rows)
    compared = None if fitted is None else len(fitted)
    told = {"repeats_left_out": len(data) - len(rows), "fitted_pictures_compared": compared}
    return Admitted(kept, rows, hashes[rows], {**kept.fingerprint(), **told})


def _fitted_hashes(bundle: Bundle) -> NDArray[np.uint64] | None:
    file = bundle.path / FITTED_FILE
    if not file.is_file():
        return None
    try:
        with np.load(io.BytesIO(file.read_bytes())) as saved:  # numpy would leave a damaged file open
            hashes: NDArray[np.uint64] = saved["content"]  # (N,), ascending
    except (OSError, EOFError, ValueError, KeyError, BadZipFile) as error:
        raise DataError(f"{file} is damaged; export the bundle again.") from error
    return hashes
