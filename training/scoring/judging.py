"""Encoded pictures to verdicts with a bundle in this process: the service's rules, without a service."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from service.bundle import Bundle, judging_of
from service.errors import BundleError, InputError, ModelOutputError
from service.preprocess import decode
from service.verdict import Judge, Row, Verdict, rows_of
from training.machine import usable_cores
from training.scoring.session import Session

ROW_OUTPUTS = frozenset({*Row._fields})

Outcome = Verdict | InputError | ModelOutputError


def local_judge(bundle: Bundle) -> Callable[[Sequence[bytes]], list[Outcome]]:
    """Return what gives each of some encoded pictures, in one batch, its verdict, or the error that it has instead.

    Raises BundleError where the bundle is not calibrated.
    """
    if bundle.calibration is None:
        raise BundleError(f"{bundle.path} is not calibrated; run `python -m training calibrate` on it.")
    judge = Judge(**judging_of(bundle.manifest, bundle.calibration))
    session = Session(bundle.model_path.read_bytes())
    outputs = [output.name for output in session.outputs if output.name in ROW_OUTPUTS]
    spec = bundle.manifest.input

    def pixels_of(encoded: bytes) -> NDArray[np.uint8] | InputError:
        try:
            return decode(encoded, height=spec.height, width=spec.width, jpeg_scale=spec.jpeg_scale)
        except InputError as error:
            return error

    def verdict_on(row: Row) -> Outcome:
        try:
            return judge.judge(row)
        except ModelOutputError as error:
            return error

    def judge_all(pictures: Sequence[bytes]) -> list[Outcome]:
        with ThreadPoolExecutor(usable_cores(), thread_name_prefix="decode") as pool:
            decoded = list(pool.map(pixels_of, pictures))
        sound = [pixels for pixels in decoded if not isinstance(pixels, InputError)]
        rows = rows_of(session.run(np.stack(sound), outputs)) if sound else iter(())
        return [pixels if isinstance(pixels, InputError) else verdict_on(next(rows)) for pixels in decoded]

    return judge_all
