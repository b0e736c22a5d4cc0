"""A camera that slowly changes, before the shipped bundle: `python -m tests.benchmarks.drift_camera FOLDER`.

FOLDER holds a folder of pictures for each class that the bundle knows (CIFAR-100 test pictures for the shipped one).
They are shown once, shuffled, while blur, exposure or JPEG quality grows worse with every picture; the table says at
which picture, and so at which severity, each chart raises its alarm.
"""

import argparse
import random
from pathlib import Path

from service.bundle import read_bundle
from service.inference.engine import Engine
from service.settings import DEFAULT_BUNDLE
from service.watch.drift import KINDS, Drift
from tests.service.watch.drift.camera import Change, blurred, compressed, darkened, scores, seen_through

# What grows to how much by the last picture. "unchanged" still passes through the same code.
CHANGES: dict[str, tuple[Change, float, str]] = {
    "unchanged": (blurred, 0, "px of radius"),
    "blur": (blurred, 2, "px of radius"),
    "exposure": (darkened, 3, "stops darker"),
    "JPEG quality": (compressed, 95, "below quality 100"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pictures", type=int, default=10_000, help="how many pictures a change takes")
    parser.add_argument("--run-length", type=float, default=1e7)
    arguments = parser.parse_args()
    bundle = read_bundle(DEFAULT_BUNDLE)
    assert bundle.calibration is not None
    engine = Engine(bundle, intra_op_threads=1)
    paths = sorted(path for path in arguments.folder.glob("*/*") if path.is_file())
    paths = random.Random(0).sample(paths, arguments.pictures)
    severities = [picture / len(paths) for picture in range(1, len(paths) + 1)]
    print("| change | chart | alarm at picture | at severity | rejected in the 200 before |\n|---|---|---|---|---|")
    for name, (change, most, unit) in CHANGES.items():
        drift = Drift(bundle.calibration, reject_share=None, run_length=arguments.run_length, strangers_share=0)
        seen = seen_through(change, (path.read_bytes() for path in paths), (most * share for share in severities))
        raised: set[str] = set()
        rejected: list[bool] = []
        for score in scores(engine, bundle, seen):
            rejected.append(score < bundle.calibration.threshold)
            for kind in drift.observe(score, accepted=not rejected[-1]):
                if kind not in raised:
                    severity = f"{most * severities[len(rejected) - 1]:.2f} {unit}"
                    print(
                        f"| {name} | {kind} | {len(rejected):,} | {severity} | {sum(rejected[-200:]) / 2:.1f} % |",
                        flush=True,
                    )
                raised.add(kind)
            if len(raised) == len(KINDS):
                break
        for kind in sorted(set(KINDS) - raised):
            print(f"| {name} | {kind} | - | {most} {unit} | {sum(rejected[-200:]) / 2:.1f} % |", flush=True)


if __name__ == "__main__":
    main()
