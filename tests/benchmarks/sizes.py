"""What scoring costs as classes, groups and features grow: `python -m tests.benchmarks.sizes`.

Prints, for C classes in K groups over D features, the time that head, group softmax, MOS and top classes take of an
image in ONNX Runtime, as a share of the forward pass of R50x1; the bytes of a class; and what the service itself
does for an image: judging, the answer's JSON, the series. One thread, batches of 8, in turns; medians are printed.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry
from torch import Tensor, nn

from service.verdict import Judge, Row
from service.watch.metrics import Metrics
from training.grouping.groups import Grouping
from training.model.backbones import backbone
from training.model.group_softmax import GroupHead, minimum_others_score

# C, K and D.
SIZES = (
    (10, 1, 2048),
    (100, 20, 2048),
    (1000, 8, 2048),
    (1000, 1000, 2048),
    (20_000, 1000, 2048),
    (20_000, 1000, 8192),
)
BATCH, SIDE = 8, 224


class Scoring(nn.Module):
    """Features (N, D) to what a verdict needs of them."""

    def __init__(self, features: int, grouping: Grouping) -> None:
        super().__init__()
        self.head = GroupHead(features, grouping)

    def forward(self, features: Tensor) -> tuple[Tensor, ...]:
        probabilities, others = self.head.probabilities(self.head(features))
        top, index = probabilities.topk(5, dim=1)
        return top, index, others, minimum_others_score(others)


def even(classes: int, groups: int) -> Grouping:
    members = np.array_split(np.arange(classes), groups)
    return Grouping(tuple(f"group {i}" for i in range(groups)), tuple(tuple(map(int, group)) for group in members))


def session(model: bytes) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def scoring_session(classes: int, groups: int, features: int) -> onnxruntime.InferenceSession:
    program = torch.onnx.export(
        Scoring(features, even(classes, groups)).eval(),
        (torch.zeros(2, features),),
        input_names=["features"],
        dynamic_shapes={"features": {0: torch.export.Dim("batch")}},
        dynamo=True,
        verbose=False,
    )
    assert program is not None
    return session(program.model_proto.SerializeToString())


def seconds(work: Callable[[], object], calls: int) -> float:
    started_at = time.perf_counter()
    for _ in range(calls):
        work()
    return (time.perf_counter() - started_at) / calls


def service_work(classes: int, groups: int) -> dict[str, Callable[[], object]]:
    """What the service does for one image of a model of this size."""
    names = [f"group {i}" for i in range(groups)]
    judge = Judge(
        classes=[f"class {i}" for i in range(classes)],
        group_names=names,
        group_of_class=[i * groups // classes for i in range(classes)],
        decided_by="mos",
        thresholds=[-0.9] * groups,
        ranks=list(range(1, 1001)),
        reference_scores=np.sort(-np.random.default_rng(0).random(1000)).tolist(),
    )
    others = np.random.default_rng(1).random(groups).astype(np.float32)
    mos = -float(others.min())
    top: NDArray[np.float32] = np.array([0.5, 0.2, 0.1, 0.05, 0.01], np.float32)
    row = Row(0, 0.5, np.arange(5), top, others, mos, mos)
    verdict = judge.judge(row)
    metrics = Metrics(CollectorRegistry())
    metrics.describe_model(
        dict.fromkeys(("name", "version", "model_sha256", "provider", "precision"), ""), names, "mos"
    )
    return {
        "judge": lambda: judge.judge(row),
        "JSON": lambda: json.dumps(verdict.others_scores),
        "series": lambda: metrics.verdict(verdict),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=9)
    rounds = parser.parse_args().rounds
    random = np.random.default_rng(0)
    torch.manual_seed(0)
    network = session(backbone("R50x1").to_onnx(SIDE))
    images = random.integers(0, 256, (BATCH, SIDE, SIDE, 3), np.uint8)
    print("| C | K | D | scoring, ms | of R50x1 at 224 px | bytes a class | judge, ms | JSON, ms | series, ms |")
    print("|---|---|---|---|---|---|---|---|---|")
    for classes, groups, features in SIZES:
        scoring = scoring_session(classes, groups, features)
        batch = random.normal(size=(BATCH, features)).astype(np.float32)
        work: dict[str, tuple[Callable[[], object], int, int]] = {
            "network": (lambda: network.run(None, {"images": images}), 1, BATCH),
            "scoring": (lambda s=scoring, b=batch: s.run(None, {"features": b}), 20, BATCH),  # type: ignore[misc]
            **{name: (one, 20, 1) for name, one in service_work(classes, groups).items()},
        }
        times: dict[str, list[float]] = {name: [] for name in work}
        for _ in range(rounds):
            for name, (call, calls, images_a_call) in work.items():
                times[name].append(1000 * seconds(call, calls) / images_a_call)
        ms = {name: statistics.median(taken) for name, taken in times.items()}
        print(
            f"| {classes:,} | {groups:,} | {features:,} | {ms['scoring']:.3f} | {ms['scoring'] / ms['network']:.2%} "
            f"| {4 * (features + 1):,} | {ms['judge']:.3f} | {ms['JSON']:.3f} | {ms['series']:.3f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
