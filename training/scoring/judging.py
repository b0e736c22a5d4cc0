"""Pictures to verdicts with a bundle in this process: the service's rules and its engine, without a service."""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from service.bundle import Bundle, judging_of
from service.errors import BundleError, InputError, ModelOutputError, NotReady
from service.inference.engine import Engine, Provider
from service.preprocess import decode
from service.verdict import Judge, Row, Verdict
from training.data.pixels import encoded
from training.errors import DataError, ScoringError
from training.machine import usable_cores

GPU_BATCH_SIZE = 64
# On a CPU larger batches gain nothing: a core is busy with this many pixels, and every core holds a batch.
CPU_BATCH_PIXELS = 32 * 32 * 32

Outcome = Verdict | InputError | ModelOutputError | DataError | OSError | MemoryError


class Picture(NamedTuple):
    """A picture by what identifies it: its encoded bytes, the file that holds them, or why there are none."""

    path: str
    content: bytes | Path | DataError


class LocalJudge:
    """A bundle in this process, for any number of pictures.

    Each of *threads* threads takes a batch from file to verdict: on a CPU it runs the model on one core, beside the
    others. That gives more pictures a second than one run that is spread over all cores, and keeps a GPU busy too.

    Raises BundleError where the bundle is not calibrated or cannot be run.
    """

    def __init__(
        self, bundle: Bundle, *, provider: Literal["auto"] | Provider = "auto", threads: int | None = None
    ) -> None:
        if bundle.calibration is None:
            raise BundleError(f"{bundle.path} is not calibrated; run `python -m training calibrate` on it.")
        self._judge = Judge(**judging_of(bundle.manifest, bundle.calibration))
        self._spec = bundle.manifest.input
        self._threads = threads or usable_cores()
        self._engine = Engine(bundle, provider=provider, intra_op_threads=1, max_batch_size=GPU_BATCH_SIZE)
        self.provider = self._engine.provider

    @property
    def batch_size(self) -> int:
        """Pictures in one run of the model."""
        if self.provider != "cpu":
            return GPU_BATCH_SIZE
        return min(GPU_BATCH_SIZE, max(1, CPU_BATCH_PIXELS // (self._spec.height * self._spec.width)))

    def judge(self, pictures: Iterable[Picture], *, batch_size: int | None = None) -> Iterator[tuple[Picture, Outcome]]:
        """Yield each picture with its verdict, or with the error that it has instead, in order.

        Pictures are taken as they are needed: two batches a thread are held at most. Raises ScoringError where the
        model cannot be run.
        """
        coming = iter(pictures)
        size = batch_size or self.batch_size
        waiting: deque[tuple[list[Picture], Future[list[Outcome]]]] = deque()
        pool = ThreadPoolExecutor(self._threads, thread_name_prefix="judge")
        try:
            while batch := list(islice(coming, size)):
                waiting.append((batch, pool.submit(self._outcomes, batch)))
                if len(waiting) >= 2 * self._threads:
                    yield from _results(*waiting.popleft())
            while waiting:
                yield from _results(*waiting.popleft())
        finally:
            pool.shutdown(cancel_futures=True)

    def _outcomes(self, batch: Sequence[Picture]) -> list[Outcome]:
        decoded = [self._pixels(picture) for picture in batch]
        sound = [pixels for pixels in decoded if not isinstance(pixels, Exception)]
        try:
            rows = iter(self._engine.predict(sound))
        except NotReady as error:
            raise ScoringError(
                f"ONNX Runtime could not run the model on the {len(batch)} pictures from {batch[0].path} on; "
                "look for what is odd about them, or for what the machine lacks, and run the same command again."
            ) from error
        return [pixels if isinstance(pixels, Exception) else self._verdict(next(rows)) for pixels in decoded]

    def _pixels(self, picture: Picture) -> NDArray[np.uint8] | InputError | DataError | OSError | MemoryError:
        try:
            content = read_content(picture)
            if isinstance(content, Exception):
                return content
            return decode(content, height=self._spec.height, width=self._spec.width, jpeg_scale=self._spec.jpeg_scale)
        except (InputError, MemoryError) as error:
            return error

    def _verdict(self, row: Row) -> Verdict | ModelOutputError:
        try:
            return self._judge.judge(row)
        except ModelOutputError as error:
            return error


def _results(batch: list[Picture], outcomes: Future[list[Outcome]]) -> Iterator[tuple[Picture, Outcome]]:
    return zip(batch, outcomes.result(), strict=True)


def read_content(picture: Picture) -> bytes | DataError | OSError:
    """The encoded bytes of a picture, or why there are none."""
    if not isinstance(picture.content, Path):
        return picture.content
    try:
        return encoded(picture.content)
    except OSError as error:
        return error
    except ValueError:  # a name with a zero in it is none of a file's
        return OSError(errno.EINVAL, os.strerror(errno.EINVAL))
