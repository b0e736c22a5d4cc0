"""What the statistic that decides costs beside MOS alone, in the served graph: `python -m tests.benchmarks.deciding`.

The same network with each statistic, run in turns on ONNX Runtime; medians of the ratios. Weights and bank are random:
they change no time.
"""

import argparse
import time

import numpy as np
import torch

from training.bundling.graph import Guard
from training.decision.statistic import Material, fit_statistic
from training.grouping.groups import Grouping
from training.model.backbones import backbone
from training.model.network import Network
from training.model.onnx_graph import fold
from training.scoring.session import Session

STATISTICS = ("mos+knn", "residual+cosine", "mos+logit+residual+cosine")
CLASSES, GROUPS, PICTURES = 100, 20, 3_000


def served(name: str, side: int, statistic: str) -> Session:
    """The graph of a network that decides by a statistic."""
    members = np.array_split(np.arange(CLASSES), GROUPS)
    grouping = Grouping(tuple(f"group {k}" for k in range(GROUPS)), tuple(tuple(map(int, part)) for part in members))
    network = fold(Network(backbone(name), grouping, zero_heads=False))
    features = torch.rand(PICTURES, network.backbone.feature_size).numpy()
    material = Material(features, np.arange(PICTURES) % CLASSES, features[:500])
    return Session(Guard(network, fit_statistic(statistic, network.group, material, seed=0)).to_onnx(side))


def ratios(one: Session, other: Session, pixels: np.ndarray, rounds: int) -> tuple[float, float]:
    """Median milliseconds of `one`, and of the other's time over it, run by run."""
    seconds = []
    for _ in range(rounds + 2):
        pair = []
        for session in (one, other):
            start = time.perf_counter()
            session.run(pixels)
            pair.append(time.perf_counter() - start)
        seconds.append(pair)
    times = np.array(seconds[2:])
    return 1000 * float(np.median(times[:, 0])), float(np.median(times[:, 1] / times[:, 0]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=40)
    rounds = parser.parse_args().rounds
    print(
        "| network | batch | MOS alone, ms | " + " | ".join(STATISTICS) + " |\n|---|---|---|" + "---|" * len(STATISTICS)
    )
    for name, side in (("efficientnet-lite0", 160), ("efficientnet-lite0", 224), ("R35-s2", 32)):
        alone = served(name, side, "mos")
        others = [served(name, side, statistic) for statistic in STATISTICS]
        for batch in (1, 8, 32):
            pixels = np.random.default_rng(0).integers(0, 256, (batch, side, side, 3), np.uint8)
            measured = [ratios(alone, other, pixels, rounds) for other in others]
            cells = " | ".join(f"{ratio:.3f}" for _, ratio in measured)
            print(f"| {name}, {side} px | {batch} | {np.median([ms for ms, _ in measured]):.2f} | {cells} |")


if __name__ == "__main__":
    main()
