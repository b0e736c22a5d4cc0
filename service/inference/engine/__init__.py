"""Runs a bundle's graph with ONNX Runtime: uint8 images in, one Row for each out.

What was hashed is what runs: the session is made from the verified bytes, and no second file is ever opened.
`sessions` makes it on a provider, `checks` compares it with the manifest, `runs` takes batches through it.
N images, H x W pixels, C classes, K groups, D features, k = min(5, C) top classes.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from service.bundle import Bundle
from service.errors import ModelOutputError, NotReady, ProviderError
from service.inference.engine.checks import check_graph, require_placed, row_outputs
from service.inference.engine.runs import Image, runs_on
from service.inference.engine.sessions import (
    RUNTIME_NAMES,
    Provider,
    built_for,
    open_session,
    provider_in_use,
    resolve,
)
from service.machine import usable_cores
from service.verdict import Row, require_finite, rows_of

__all__ = ["Engine", "Image", "Provider"]

CPU_BATCH_SIZE = 8
"""Images that one thread takes at a time while serving: within some percent of its best rate, and soon answered."""


class Engine:
    """A graph on a provider; `provider` is the one in use, whatever was asked for.

    `predict` takes up to *max_batch_size* images, and `batch_size` is how many to give it while serving. On the CPU
    *intra_op_threads* go side by side, each with a run of its own, or all with the run of an image that is alone; 0 is
    one a usable core. *cuda_graphs* replays the launches of each batch size on CUDA as one; *tensorrt_cache* keeps what
    TensorRT built, and it is run as it lies there, so nobody else may write to that folder.

    Raises BundleError where the graph does not fit the manifest, and ProviderError where *provider* is `cuda` or
    `tensorrt` and the session does not run on it.
    """

    def __init__(
        self,
        bundle: Bundle,
        *,
        provider: Literal["auto"] | Provider = "auto",
        intra_op_threads: int = 0,
        max_batch_size: int = 32,
        cuda_graphs: bool = False,
        tensorrt_cache: Path | None = None,
    ) -> None:
        manifest = bundle.manifest
        self.max_batch_size = max_batch_size
        self._image_shape = (manifest.input.height, manifest.input.width, 3)
        # Only what a Row needs is computed while serving; `logits` and `features` are for evaluation.
        self._outputs = row_outputs(manifest)
        cores = intra_op_threads or usable_cores()
        wanted = resolve(provider)
        open_it = partial(open_session, bundle, max_batch_size=max_batch_size)
        self._session = open_it(
            wanted,
            threads=1 if wanted == "cpu" else intra_op_threads or 1,
            cuda_graphs=cuda_graphs,
            tensorrt_cache=tensorrt_cache,
        )
        self.provider: Provider = provider_in_use(self._session)
        if provider not in ("auto", self.provider):
            raise ProviderError(
                f"Provider {provider} was asked for and the session runs on {self.provider}; "
                f"install a driver and libraries for {built_for()}, or ask for auto."
            )
        check_graph(self._session, manifest)
        require_placed(self._session, self.provider)
        self.batch_size = max_batch_size if self.shares_device else min(max_batch_size, CPU_BATCH_SIZE)
        has_wide = not self.shares_device and cores > 1
        self._runs = runs_on(
            self._session,
            self.provider,
            self._outputs,
            image_shape=self._image_shape,
            batch_sizes=self.batch_sizes,
            cuda_graphs=cuda_graphs,
            cpu_runs=cores,
            wide=open_it("cpu", threads=cores, spins=True) if has_wide else None,
        )

    @property
    def in_flight(self) -> int:
        """How many threads may call `predict` at a time, each with up to `batch_size` images."""
        return self._runs.in_flight

    @property
    def shares_device(self) -> bool:
        """True where runs wait for one another on one device, so that a fuller batch is worth waiting for."""
        return self.provider != "cpu"

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        """The batch sizes that run: on a GPU the few that smaller batches are padded to, on the CPU the extremes."""
        if self.provider == "cpu":
            return (1, self.batch_size) if self.batch_size > 1 else (1,)
        powers = (1 << exponent for exponent in range(self.max_batch_size.bit_length()))
        return tuple(sorted({*powers, self.max_batch_size}))

    def warm_up(self) -> None:
        """Run every one of `batch_sizes` once, so that no request pays for the first run of a shape, and settle how.

        The largest comes first: what the smaller ones need then lies in memory that is already there.

        Raises what `predict` does, and ModelOutputError on NaN or Inf.
        """
        for size in reversed(self.batch_sizes):
            grey = np.full((size, *self._image_shape), 128, np.uint8)  # nothing a sound model could trip over
            for _ in range(self.in_flight if self.shares_device else 1):  # each batch in flight has memory of its own
                for row in self.predict(grey):
                    require_finite(row)
        with _failures_as_ours():
            self._runs.settle(grey)

    def predict(self, images: Sequence[Image] | NDArray[np.uint8], *, alone: bool = True) -> list[Row]:
        """Return one Row for each of *images*, uint8 (H, W, 3) and at most max_batch_size, in their order.

        *alone* says that no other image is in hand, so that a run may take what another would need.

        A row may hold NaN or Inf: whoever judges it refuses it, and its neighbours are judged by their own numbers.

        Raises ModelOutputError on outputs of a wrong shape or count, NotReady where ONNX Runtime fails or no longer
        runs on `provider`, and ValueError for images of another type or shape. `in_flight` threads may call it at once.
        """
        self._require_images(images)
        if len(images) == 0:
            return []
        with _failures_as_ours():
            outputs = self._runs.run(images, self._padded(len(images)), alone)
        self._require_provider()
        return list(self._rows([output[: len(images)] for output in outputs], len(images)))

    def _require_images(self, images: Sequence[Image] | NDArray[np.uint8]) -> None:
        fitting = all(image.dtype == np.uint8 and image.shape == self._image_shape for image in images)
        if not fitting or len(images) > self.max_batch_size:
            raise ValueError(
                f"images must be uint8, (N <= {self.max_batch_size}, {', '.join(map(str, self._image_shape))})"
            )

    def _require_provider(self) -> None:
        """Raise NotReady unless the session is still on `provider`: no answer comes from another than the one named."""
        if self._session.get_providers()[0] != RUNTIME_NAMES[self.provider]:
            raise NotReady(f"ONNX Runtime no longer runs the model on {self.provider}; restart the service.")

    def _padded(self, count: int) -> int:
        """The next warmed batch size; every new shape costs a GPU a search for algorithms."""
        if self.provider == "cpu":
            return count
        return next(size for size in self.batch_sizes if size >= count)

    def _rows(self, outputs: list[NDArray[Any]], count: int) -> Iterator[Row]:
        arrays = dict(zip(self._outputs, outputs, strict=True))
        for name, output in arrays.items():
            if output.shape != (count, *self._outputs[name].shape):
                raise ModelOutputError(f"The model's {name} has a wrong shape; export the bundle again.")
        return rows_of(arrays)


@contextmanager
def _failures_as_ours() -> Iterator[None]:
    """The border where the runtime's errors, of many classes, become ours."""
    try:
        yield
    except Exception as error:
        raise NotReady("ONNX Runtime could not run the model; restart the service.") from error
