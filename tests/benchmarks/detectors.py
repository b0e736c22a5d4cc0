"""What detectors cost beside the forward pass: `python -m tests.benchmarks.detectors`.

Prints (a) the test time of MOS and of MSP on the same forward passes of a bundle's ONNX model, and (b) the cost of KL
matching for an image at 10, 100 and 1,000 classes as a share of that forward pass. Pictures are random pixels: time
does not depend on what they show. Everything is measured in turns, so that whatever else the machine does meets all,
and medians are printed; ratios are what counts. On a machine that does other work, set OMP_NUM_THREADS=1: threads that
wait for each other's turn would be measured instead.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from service.bundle import read_bundle
from tests.server_process import ROOT
from training.detectors import Head, Outputs, Statistics, kl_matching, mos, msp
from training.detectors.fitted import read_detectors
from training.scoring.session import Session

CLASS_COUNTS = (10, 100, 1000)
LARGEST_DIFFERENCE = 0.01
"""How far MOS's test time may be above MSP's."""
LARGEST_SHARE = 0.05
"""How much of a forward pass KL matching may cost at 1,000 classes."""
SCORE_CALLS = 20
"""Scores are so short that one measurement is of several."""


def seconds(work: Callable[[], object], calls: int) -> float:
    """How long one of so many calls takes."""
    started_at = time.perf_counter()
    for _ in range(calls):
        work()
    return (time.perf_counter() - started_at) / calls


def outputs(rows: dict[str, NDArray[np.float32]], head: Head) -> Outputs:
    """The model's outputs with the flat logits, which are a part of MSP's cost."""
    return Outputs(rows["features"], rows["others_scores"], head.logits(rows["features"]), head)


def random_logits(batch_size: int, classes: int) -> tuple[Outputs, Statistics]:
    """A batch of logits of `classes` classes, and templates for KL matching."""
    random = np.random.default_rng(0)
    logits = random.normal(0, 3, (batch_size, classes)).astype(np.float32)
    log_templates = np.log(random.dirichlet(np.ones(classes), classes) + 1e-12).astype(np.float32)
    head = Head(np.zeros((classes, 1), np.float32), np.zeros(classes, np.float32))
    nothing = np.zeros((batch_size, 1), np.float32)
    return Outputs(nothing, nothing, logits, head), {"log_templates": log_templates}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path, default=ROOT / "service" / "default_bundle")
    parser.add_argument("--batch-size", type=int, default=64, help="pictures in a forward pass")
    parser.add_argument("--rounds", type=int, default=30, help="forward passes that are measured")
    args = parser.parse_args()
    bundle = read_bundle(args.bundle)
    head, _ = read_detectors(args.bundle)
    session = Session(bundle.model_path.read_bytes())
    shape = (args.batch_size, bundle.manifest.input.height, bundle.manifest.input.width, 3)
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    rows = session.run(pixels)
    made = {classes: random_logits(args.batch_size, classes) for classes in CLASS_COUNTS}
    times: dict[str, list[float]] = {}
    for _ in range(args.rounds + 1):  # the first round warms caches up
        for name, work in {
            "forward": lambda: session.run(pixels),
            "mos": lambda: mos.score(Outputs(rows["features"], rows["others_scores"], rows["logits"], head), {}),
            "msp": lambda: msp.score(outputs(rows, head), {}),
            **{f"kl {classes}": lambda seen=seen: kl_matching.score(*seen) for classes, seen in made.items()},
        }.items():
            times.setdefault(name, []).append(seconds(work, 1 if name == "forward" else SCORE_CALLS))
    microseconds = {name: 1e6 * statistics.median(taken[1:]) / args.batch_size for name, taken in times.items()}
    return report(microseconds, bundle.manifest.name)


def report(microseconds: dict[str, float], name: str) -> int:
    """Print the medians for an image, and return 1 where a claim does not hold."""
    forward = microseconds["forward"]
    print(f"{name}: a forward pass takes {forward:.0f} µs an image")
    totals = {detector: forward + microseconds[detector] for detector in ("mos", "msp")}
    for detector, total in totals.items():
        print(f"  {detector}: {total:9.1f} µs with the forward pass, {microseconds[detector]:6.2f} µs the score alone")
    ratio = totals["mos"] / totals["msp"]
    print(f"  MOS takes {ratio:.4f} of MSP's time (wanted: at most {1 + LARGEST_DIFFERENCE})")
    shares = {classes: microseconds[f"kl {classes}"] / forward for classes in CLASS_COUNTS}
    for classes, share in shares.items():
        cost = microseconds[f"kl {classes}"]
        print(f"  kl_matching at {classes:5,} classes: {cost:6.2f} µs, {100 * share:.3f} % of the forward pass")
    print(f"  wanted at {max(shares):,} classes: under {100 * LARGEST_SHARE:.0f} %")
    return 0 if ratio <= 1 + LARGEST_DIFFERENCE and shares[max(shares)] < LARGEST_SHARE else 1


if __name__ == "__main__":
    sys.exit(main())
