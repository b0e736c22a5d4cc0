"""Batches through a session, several at a time: over new memory, or over memory bound once for each batch size.

On the CPU binding would save nothing: the images are read where they lie. A GPU has to be given them: over pages that
the driver has locked the copy is fast and may go on while another batch is computed, and fixed addresses are what CUDA
graphs need.
"""

import itertools
import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from queue import SimpleQueue
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from service.inference.engine.checks import Output
from service.inference.engine.device_thread import DeviceThread
from service.inference.engine.host_memory import pinned
from service.inference.engine.sessions import INPUT, Provider

Image = NDArray[np.uint8]  # (H, W, 3)
Images = Sequence[Image] | NDArray[np.uint8]  # (N, H, W, 3)
IN_FLIGHT = 2
"""Batches of a GPU at a time: while one is computed, the next is stacked and copied."""
SETTLING_RUNS, SETTLING_SECONDS = 5, 0.2
CLEARLY = 1.25
"""By how much slower the way is that is given up: a measurement beside a guard that serves is a rough one."""
_NO_GRAPH = -1  # what ONNX Runtime takes for "neither capture nor replay"

_log = logging.getLogger(__name__)


class Runs(Protocol):
    """A way through a session."""

    in_flight: int
    """Threads that may call `run` at a time."""

    def run(self, images: Images, size: int, alone: bool = True) -> list[NDArray[Any]]:
        """Return the outputs, (size, ...) each, in memory that belongs to the caller; *images* fill the first rows.

        With *alone* no other image is in hand.
        """

    def settle(self, images: Images) -> None:
        """Find out, by a few runs of *images*, which way is the fastest where there are several."""


def runs_on(
    session: Any,
    provider: Provider,
    outputs: Mapping[str, Output],
    *,
    image_shape: tuple[int, int, int],
    batch_sizes: Sequence[int],
    cuda_graphs: bool,
    cpu_runs: int,
    wide: Any = None,
) -> Runs:
    """Return the way through *session* that suits its provider; *cpu_runs* and *wide* are for the CPU alone."""
    if provider == "cpu":
        return CoreRuns(session, outputs, cpu_runs, wide)
    return BoundRuns(
        session,
        outputs,
        image_shape=image_shape,
        batch_sizes=batch_sizes,
        memory="cuda",
        cuda_graphs=cuda_graphs and provider == "cuda",
    )


class CoreRuns:
    """`session.run` in *in_flight* threads at a time, each on cores of its own.

    For much of its time a run waits for memory, or for its slowest thread, so runs side by side do more than one run in
    as many threads. One run on all cores is faster for few images that have the machine to themselves: those go through
    *wide*, a session that takes every core and spins.
    """

    def __init__(self, session: Any, outputs: Mapping[str, Output], in_flight: int = 1, wide: Any = None) -> None:
        self.in_flight = in_flight
        self._session = session
        self._wide = wide
        self._names = list(outputs)

    def run(self, images: Images, size: int, alone: bool = True) -> list[NDArray[Any]]:  # noqa: D102
        batch = np.zeros((size, *images[0].shape), np.uint8)
        np.stack(list(images), out=batch[: len(images)])
        # More images than half the cores would keep cores of their own as busy.
        takes_all = alone and self._wide is not None and 2 * size <= self.in_flight
        session = self._wide if takes_all else self._session
        outputs: list[NDArray[Any]] = session.run(self._names, {INPUT: batch})
        return outputs

    def settle(self, images: Images) -> None:
        """Give *wide* up where it is clearly slower; what runs may raise comes through."""
        if self._wide is None:
            return
        feed = {INPUT: np.stack(list(images))}
        wide_ms = narrow_ms = math.inf
        ends_at = time.monotonic() + SETTLING_SECONDS
        for _ in range(SETTLING_RUNS):  # in turns, so that whatever else the machine does meets both
            wide_ms = min(wide_ms, _milliseconds(lambda: self._wide.run(self._names, feed)))
            narrow_ms = min(narrow_ms, _milliseconds(lambda: self._session.run(self._names, feed)))
            if time.monotonic() > ends_at:
                break
        _log.info("An image alone takes %.2f ms on all threads, %.2f ms on one.", wide_ms, narrow_ms)
        if wide_ms > CLEARLY * narrow_ms:  # as with a small model on many cores, whose threads wait for each other
            self._wide = None


class BoundRuns:
    """`session.run_with_iobinding` over `IN_FLIGHT` sets of buffers, each with one binding for a batch size.

    The session itself runs in one thread of its own: CUDA's handles and captured graphs belong to the thread that made
    them, and warming up in another than the one that serves would warm nothing.
    """

    in_flight = IN_FLIGHT

    def __init__(
        self,
        session: Any,
        outputs: Mapping[str, Output],
        *,
        image_shape: tuple[int, int, int],
        batch_sizes: Sequence[int],
        memory: Literal["cuda", "cpu"],
        cuda_graphs: bool = False,
    ) -> None:
        self._session = session
        self._thread = DeviceThread("device")
        # A captured graph has its addresses in it: one for each size of each set.
        graph_ids = itertools.count() if cuda_graphs else itertools.repeat(_NO_GRAPH)
        self._free: SimpleQueue[_Buffers] = SimpleQueue()
        for _ in range(IN_FLIGHT):
            bound = {
                size: _bind(session, outputs, (size, *image_shape), memory, next(graph_ids)) for size in batch_sizes
            }
            self._free.put(_Buffers(_host_rows((max(batch_sizes), *image_shape), memory), bound))

    def run(self, images: Images, size: int, alone: bool = True) -> list[NDArray[Any]]:  # noqa: D102
        buffers = self._free.get()
        try:
            bound = buffers.load(images, size)
            return self._thread.run(lambda: self._compute(bound))
        finally:
            self._free.put(buffers)

    def settle(self, images: Images) -> None:
        """Do nothing: there is one way."""

    def _compute(self, bound: "_Bound") -> list[NDArray[Any]]:
        self._session.run_with_iobinding(bound.binding, bound.options)
        # Copies: `OrtValue.numpy` would be a view of memory that the next batch is written to.
        outputs: list[NDArray[Any]] = bound.binding.copy_outputs_to_cpu()
        return outputs


class _Bound(NamedTuple):
    """One batch size: where its images lie on the device, the binding of them and of the outputs, the run's options."""

    images: Any  # OrtValue, (size, H, W, 3)
    binding: Any
    options: Any


class _Buffers(NamedTuple):
    """Memory for one batch in flight."""

    rows: NDArray[np.uint8]  # (largest size, H, W, 3), on the host
    bound: Mapping[int, _Bound]

    def load(self, images: Images, size: int) -> _Bound:
        """Copy *images* to the device; what follows them up to *size* is of an earlier batch and nobody's answer."""
        np.stack(list(images), out=self.rows[: len(images)])
        bound = self.bound[size]
        bound.images.update_inplace(self.rows[:size])
        return bound


def _bind(
    session: Any, outputs: Mapping[str, Output], images_shape: tuple[int, ...], memory: str, graph_id: int
) -> _Bound:
    binding = session.io_binding()
    images = onnxruntime.OrtValue.ortvalue_from_shape_and_type(images_shape, np.uint8, memory)
    binding.bind_ortvalue_input(INPUT, images)
    for name, output in outputs.items():
        shape = (images_shape[0], *output.shape)
        binding.bind_ortvalue_output(
            name, onnxruntime.OrtValue.ortvalue_from_shape_and_type(shape, output.dtype, memory)
        )
    options = onnxruntime.RunOptions()
    options.add_run_config_entry("gpu_graph_id", str(graph_id))
    return _Bound(images, binding, options)


def _milliseconds(run: Callable[[], object]) -> float:
    started_at = time.perf_counter()
    run()
    return 1000 * (time.perf_counter() - started_at)


def _host_rows(shape: tuple[int, ...], memory: str) -> NDArray[np.uint8]:
    return pinned(shape) if memory == "cuda" else np.zeros(shape, np.uint8)
