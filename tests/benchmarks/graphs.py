"""How fast graphs of the same pictures run on this CPU: `python -m tests.benchmarks.graphs FIRST.onnx SECOND.onnx ...`.

The graphs take turns in many short rounds, so that whatever else the machine does meets all. A ratio is the first
graph's median time for a batch by another's, so above one it is faster; beside it stands that of the shortest times.
"""

import argparse
import statistics
import time
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

NOT_SERVED = ("logits", "features")


class Graph:
    """A session with the service's options, which computes what the service asks for."""

    def __init__(self, path: Path, threads: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        outputs = [output.name for output in self._session.get_outputs()]
        self._outputs = [name for name in outputs if name not in NOT_SERVED] or outputs
        self.image_shape = tuple(self._session.get_inputs()[0].shape[1:])

    def seconds_a_batch(self, images: NDArray[np.uint8], seconds: float) -> float:
        """Mean over as many batches as fit into *seconds*."""
        started_at, count = time.perf_counter(), 0
        while (elapsed := time.perf_counter() - started_at) < seconds:
            self._session.run(self._outputs, {"images": images})
            count += 1
        return elapsed / count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path, nargs="+", help="model.onnx of bundles that take pictures of one size")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8, 32], help="batch sizes")
    parser.add_argument("--threads", type=int, default=0, help="intra-op threads; 0 is one a core")
    parser.add_argument("--rounds", type=int, default=41)
    parser.add_argument("--seconds", type=float, default=0.1, help="of each graph in each round")
    args = parser.parse_args()
    graphs = [Graph(path, args.threads) for path in args.models]
    random = np.random.default_rng(0)
    for size in args.batches:
        images = random.integers(0, 256, (size, *graphs[0].image_shape), np.uint8)
        rounds = [[graph.seconds_a_batch(images, args.seconds) for graph in graphs] for _ in range(1 + args.rounds)]
        times = list(zip(*rounds[1:], strict=True))  # the first round pays for what is done once
        for path, taken in zip(args.models, times, strict=True):
            by_median = statistics.median(times[0]) / statistics.median(taken)
            by_shortest = min(times[0]) / min(taken)
            print(f"batch {size}: {path} {1000 * min(taken):.2f} ms, {by_median:.2f} ({by_shortest:.2f}) times")


if __name__ == "__main__":
    main()
