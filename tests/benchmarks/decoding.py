"""What a reduced scale of JPEGs gains in time, and by how much it moves pixels and scores.

    python -m tests.benchmarks.decoding FOLDER [--bundle DIR] [--rounds N]

Times: milliseconds a picture in one thread, decoded and resized, medians over rounds in which the two scales take
turns; of the JPEGs of FOLDER, and of made ones of 12 megapixels. Moves: the mean difference of the pixels, of 255
levels, and what a bundle, by default the shipped one, makes of the folder's JPEGs at each scale, at its own threshold.
A JPEG that is saved once more, at quality 90, is the yardstick: the same picture to anybody.
"""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.bundle import Bundle, read_bundle
from service.preprocess import JpegScale, decode
from service.settings import DEFAULT_BUNDLE
from training.scoring.session import Session

SIDES = (32, 64, 160, 224)
SCALES: tuple[JpegScale, ...] = get_args(JpegScale)
LARGE = (4032, 3024)
YARDSTICK_QUALITY = 90

Pixels = NDArray[np.uint8]


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--bundle", type=Path, default=DEFAULT_BUNDLE)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    jpegs = [file.read_bytes() for file in sorted(args.folder.rglob("*")) if file.suffix.lower() in (".jpg", ".jpeg")]
    print_times({"folder": jpegs, "12 Mpx": [enlarged(jpeg) for jpeg in jpegs[:3]]}, args.rounds)
    print_moves(read_bundle(args.bundle), jpegs)


def print_times(sets: dict[str, Sequence[bytes]], rounds: int) -> None:
    """A line for each set of JPEGs and input side."""
    print(f"{'':<8}{'side':>6}{'full':>10}{'reduced':>10}{'ratio':>8}")
    for name, jpegs in sets.items():
        for side in SIDES:
            full, reduced = medians_ms(jpegs, side, rounds)
            print(f"{name:<8}{side:>6}{full:>7.2f} ms{reduced:>7.2f} ms{full / reduced:>8.2f}")


def medians_ms(jpegs: Sequence[bytes], side: int, rounds: int) -> list[float]:
    """Milliseconds a picture at each of `SCALES`."""
    times: list[list[float]] = [[] for _ in SCALES]
    for _ in range(rounds):
        for scale, taken in zip(SCALES, times, strict=True):
            started_at = time.perf_counter()
            for jpeg in jpegs:
                decode(jpeg, height=side, width=side, jpeg_scale=scale)
            taken.append((time.perf_counter() - started_at) / len(jpegs))
    return [1e3 * float(np.median(taken)) for taken in times]


def print_moves(bundle: Bundle, jpegs: Sequence[bytes]) -> None:
    """A line for what reducing moves, and one for the yardstick."""
    assert bundle.calibration is not None, f"{bundle.path} is not calibrated"
    spec, threshold = bundle.manifest.input, bundle.calibration.threshold
    session = Session(bundle.model_path.read_bytes())

    def read(jpeg: bytes, scale: JpegScale = "full") -> Pixels:
        return decode(jpeg, height=spec.height, width=spec.width, jpeg_scale=scale)

    ways: dict[str, Callable[[bytes], Pixels]] = {
        "full": read,
        "reduced": lambda jpeg: read(jpeg, "reduced"),
        "saved again": lambda jpeg: read(saved_again(jpeg)),
    }
    pixels = {name: np.stack([way(jpeg) for jpeg in jpegs]).astype(np.int16) for name, way in ways.items()}
    scores = {name: session.run(of.astype(np.uint8), ["score"])["score"] for name, of in pixels.items()}
    print(f"{'':<14}{'pixels':>8}{'score: mean':>14}{'max':>8}{'verdicts':>10}{'let in':>9}")
    for name in ways:
        moved, accepted = np.abs(scores[name] - scores["full"]), scores[name] >= threshold
        other = int((accepted != (scores["full"] >= threshold)).sum())
        levels = np.abs(pixels[name] - pixels["full"]).mean()
        print(f"{name:<14}{levels:>8.2f}{moved.mean():>14.4f}{moved.max():>8.4f}{other:>10}{accepted.mean():>9.1%}")


def enlarged(jpeg: bytes) -> bytes:
    """The picture with twelve million pixels and the grain of a sensor."""
    with Image.open(io.BytesIO(jpeg)) as image:
        large = np.asarray(image.convert("RGB").resize(LARGE, Image.Resampling.LANCZOS))
    grain = np.random.default_rng(0).normal(0, 4, large.shape)
    return _jpeg(Image.fromarray((large + grain).clip(0, 255).astype(np.uint8)))


def saved_again(jpeg: bytes) -> bytes:
    """The picture as a JPEG that was decoded and encoded once more."""
    with Image.open(io.BytesIO(jpeg)) as image:
        return _jpeg(image, exif=image.info.get("exif", b""))


def _jpeg(image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=YARDSTICK_QUALITY, **options)
    return buffer.getvalue()


if __name__ == "__main__":
    main()
