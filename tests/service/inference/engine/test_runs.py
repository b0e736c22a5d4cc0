"""Batches through a session: bound memory gives what new memory gives, to everyone their own."""

import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from service.bundle import Bundle
from service.inference.engine.checks import row_outputs
from service.inference.engine.runs import IN_FLIGHT, BoundRuns, CoreRuns
from tests.tiny_bundle import write_tiny_bundle

pytestmark = pytest.mark.numeric

SIZES = (1, 2, 4, 8)
Outputs = list[NDArray[Any]]


class Watched:
    """A session on the CPU that notes the threads it runs in, and runs only while it is let."""

    def __init__(self, bundle: Bundle) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1  # sums in one order
        self._session = onnxruntime.InferenceSession(bundle.model_path, options, providers=["CPUExecutionProvider"])
        self.threads: set[str] = set()
        self.is_let = threading.Event()
        self.is_let.set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._session, name)

    def run_with_iobinding(self, *arguments: Any) -> None:
        self.threads.add(threading.current_thread().name)
        assert self.is_let.wait(60)
        self._session.run_with_iobinding(*arguments)


@pytest.fixture
def session(tiny_bundle: Bundle) -> Watched:
    return Watched(tiny_bundle)


def bound(session: Watched, bundle: Bundle, *, cuda_graphs: bool = False) -> BoundRuns:
    outputs = row_outputs(bundle.manifest)
    return BoundRuns(session, outputs, image_shape=(8, 8, 3), batch_sizes=SIZES, memory="cpu", cuda_graphs=cuda_graphs)


def images(count: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, 8, 8, 3), np.uint8)


def equal(left: Outputs, right: Outputs) -> bool:
    """Say whether outputs are the same to the last bit."""
    return all(a.dtype == b.dtype and a.tobytes() == b.tobytes() for a, b in zip(left, right, strict=True))


@pytest.mark.parametrize("size", SIZES)
def test_bound_memory_gives_what_new_memory_gives(session: Watched, tiny_bundle: Bundle, size: int) -> None:
    """The same outputs to the last bit, in every set of buffers, for every batch size, batch after batch."""
    runs, plain = bound(session, tiny_bundle), CoreRuns(session, row_outputs(tiny_bundle.manifest))
    for seed in range(2 * IN_FLIGHT + 1):
        batch = images(size, seed)
        assert equal(runs.run(batch, size), plain.run(batch, size))


@pytest.mark.parametrize("count", range(1, 9))
def test_what_fills_a_batch_up_changes_nothing(session: Watched, tiny_bundle: Bundle, count: int) -> None:
    """Each image gets its outputs, whatever an earlier and larger batch has left behind it."""
    runs, plain = bound(session, tiny_bundle), CoreRuns(session, row_outputs(tiny_bundle.manifest))
    size = next(size for size in SIZES if size >= count)
    for seed in range(IN_FLIGHT):
        runs.run(images(8, seed), 8)
    batch = images(count, seed=99)
    padded = [output[:count] for output in runs.run(list(batch), size)]
    assert equal(padded, [output[:count] for output in plain.run(batch, size)])


def test_outputs_are_the_callers(session: Watched, tiny_bundle: Bundle) -> None:
    """What one batch was given stays as it is through all batches after it."""
    runs = bound(session, tiny_bundle)
    given = [runs.run(images(4, seed), 4) for seed in range(3 * IN_FLIGHT)]
    noted = [[output.copy() for output in outputs] for outputs in given]
    for seed in range(100, 100 + 2 * IN_FLIGHT):
        runs.run(images(4, seed), 4)
    assert all(map(equal, given, noted))


@pytest.fixture
def impatient_threads() -> Iterator[None]:
    """Let threads take turns between any two steps."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(usual)


@pytest.mark.usefixtures("impatient_threads")
def test_outputs_do_not_mix_between_threads(session: Watched, tiny_bundle: Bundle) -> None:
    """More threads than buffers, batches of all sizes: everyone gets the outputs of the own batch."""
    runs, plain = bound(session, tiny_bundle), CoreRuns(session, row_outputs(tiny_bundle.manifest))
    batches = [images(SIZES[seed % len(SIZES)], seed) for seed in range(400)]
    with ThreadPoolExecutor(IN_FLIGHT + 2) as threads:
        given = list(threads.map(lambda batch: runs.run(batch, len(batch)), batches))
    for outputs, batch in zip(given, batches, strict=True):
        assert equal(outputs, plain.run(batch, len(batch)))


def test_the_next_batch_is_loaded_while_one_runs(session: Watched, tiny_bundle: Bundle) -> None:
    """A second caller gets its buffers though the first one's run has not ended, and both get their own outputs."""
    runs, plain = bound(session, tiny_bundle), CoreRuns(session, row_outputs(tiny_bundle.manifest))
    first, second = images(8, seed=1), images(8, seed=2)
    session.is_let.clear()
    with ThreadPoolExecutor(2) as threads:
        given = [threads.submit(runs.run, batch, 8) for batch in (first, second)]
        give_up_at = time.monotonic() + 60
        while not runs._free.empty():
            assert time.monotonic() < give_up_at, "the second batch waits for the first"
            time.sleep(0.001)
        assert not any(future.done() for future in given)
        session.is_let.set()
    for future, batch in zip(given, (first, second), strict=True):
        assert equal(future.result(), plain.run(batch, 8))


def test_all_runs_are_in_one_thread(session: Watched, tiny_bundle: Bundle) -> None:
    """Whoever asks, the session runs in the same thread: what a device keeps for a thread is there once."""
    runs = bound(session, tiny_bundle)
    with ThreadPoolExecutor(3) as threads:
        list(threads.map(lambda seed: runs.run(images(2, seed), 2), range(30)))
    runs.run(images(1), 1)
    assert session.threads == {"device"}


def test_a_failing_run_gives_its_buffers_back(tmp_path: Path) -> None:
    """An error reaches the caller as often as it happens, and the batches after it are served."""
    bundle = write_tiny_bundle(tmp_path / "b", fail_on_white=True)
    runs = bound(Watched(bundle), bundle)
    for _ in range(2 * IN_FLIGHT):
        with pytest.raises(Exception, match="Non-zero status"):
            runs.run(np.full((1, 8, 8, 3), 255, np.uint8), 1)
        assert runs._free.qsize() == IN_FLIGHT
    assert len(runs.run(images(1), 1)[0]) == 1


@pytest.mark.parametrize("cuda_graphs", [False, True])
def test_each_set_of_addresses_has_a_graph_of_its_own(session: Watched, tiny_bundle: Bundle, cuda_graphs: bool) -> None:
    """A captured graph has its addresses in it: no two bindings share one, and without graphs nobody has any."""
    runs = bound(session, tiny_bundle, cuda_graphs=cuda_graphs)
    sets = [runs._free.get() for _ in range(IN_FLIGHT)]
    ids = [int(one.options.get_run_config_entry("gpu_graph_id")) for each in sets for one in each.bound.values()]
    assert len(ids) == IN_FLIGHT * len(SIZES)
    assert sorted(ids) == list(range(len(ids))) if cuda_graphs else set(ids) == {-1}


class Named:
    """A session that tells which it is."""

    def __init__(self, name: str) -> None:
        self._name = name

    def run(self, names: list[str], inputs: dict[str, Any]) -> list[str]:
        return [self._name]


@pytest.mark.parametrize(
    ("count", "alone", "session"),
    [(1, True, "wide"), (2, True, "wide"), (3, True, "narrow"), (1, False, "narrow"), (8, False, "narrow")],
)
def test_few_images_that_come_alone_have_every_core(count: int, alone: bool, session: str) -> None:
    """Of four cores; more than two images, or any beside others, keep cores of their own as busy."""
    runs = CoreRuns(Named("narrow"), {}, 4, Named("wide"))
    assert runs.run(images(count), count, alone) == [session]


def test_without_a_wide_session_every_run_is_narrow() -> None:
    """A machine of one core has none."""
    assert CoreRuns(Named("narrow"), {}).run(images(1), 1, True) == ["narrow"]


class Slow(Named):
    """A session whose runs take some milliseconds."""

    def __init__(self, name: str, milliseconds: float) -> None:
        super().__init__(name)
        self._milliseconds = milliseconds

    def run(self, names: list[str], inputs: dict[str, Any]) -> list[str]:
        time.sleep(self._milliseconds / 1000)
        return super().run(names, inputs)


@pytest.mark.parametrize(("narrow_ms", "wide_ms", "chosen"), [(40.0, 1.0, "wide"), (1.0, 40.0, "narrow")])
def test_an_image_alone_goes_the_way_that_was_measured_to_be_faster(
    narrow_ms: float, wide_ms: float, chosen: str
) -> None:
    """Every core is too much for a small model, whose threads then wait for each other."""
    runs = CoreRuns(Slow("narrow", narrow_ms), {}, 4, Slow("wide", wide_ms))
    runs.settle(images(1))
    assert runs.run(images(1), 1, True) == [chosen]
