"""What a procedural picture costs, family by family, beside decoding a JPEG of its size.

    python -m tests.benchmarks.procedural [ROUNDS]

Milliseconds of CPU time a picture in one thread, medians over rounds of 64 pictures in turns. Own pictures are read
before the clock starts: what their decoding adds to a family is the last line, times the number in brackets.
"""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from PIL import Image

from service.preprocess import decode
from training.data.pixels import Pixels
from training.data.procedural.chance import generator_of
from training.data.procedural.pictures import OF_OWN, PAINTED, painted_visibly, weathered

SIDES = (32, 128, 224)
PICTURES = 64


def main(rounds: int = 9) -> None:
    """Print the table."""
    torch.set_num_threads(1)
    tables = [of_side(side, rounds) for side in SIDES]
    print(f"{'ms a picture':<16}" + "".join(f"{f'{side} px':>9}" for side in SIDES))
    for name in tables[0]:
        print(f"{name:<16}" + "".join(f"{table[name]:>9.3f}" for table in tables))


def of_side(side: int, rounds: int) -> dict[str, float]:
    """Milliseconds a picture of `side` pixels: {what: ms}."""
    own = np.stack([photograph(side, seed) for seed in range(8)])
    encoded = [_jpeg(picture) for picture in own]

    def of_own(make: Callable[..., Pixels], needed: int) -> Callable[[int], Pixels]:
        return lambda index: make(generator_of(0, index), own[index % 4 :][:needed])

    calls: dict[str, Callable[[int], object]] = {
        name: lambda index, name=name: painted_visibly(name, generator_of(0, index), side) for name in PAINTED
    }
    calls |= {f"{name} ({needed})": of_own(make, needed) for name, (needed, make) in OF_OWN.items()}
    weather = {"weathering": lambda index: weathered(own[index % 8], generator_of(0, index))}
    decoding = {"decoding a JPEG": lambda index: decode(encoded[index % 8], height=side, width=side)}
    found = medians_ms(calls | weather | decoding, rounds)
    mean = sum(found[name] for name in calls) / len(calls) + found["weathering"]
    jpeg = found.pop("decoding a JPEG")
    return found | {"mean, weathered": mean, "decoding a JPEG": jpeg}


def medians_ms(calls: dict[str, Callable[[int], object]], rounds: int) -> dict[str, float]:
    """Median time of each call over rounds of `PICTURES` indices, measured in turns."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for start in range(rounds):
        for name, call in calls.items():
            began = time.thread_time()
            for index in range(start * PICTURES, (start + 1) * PICTURES):
                call(index)
            times[name].append(1e3 * (time.thread_time() - began) / PICTURES)
    return {name: float(np.median(some)) for name, some in times.items()}


def photograph(side: int, seed: int) -> Pixels:
    """Smooth colours with some fine structure, about as hard to encode as a photograph: uint8 (side, side, 3)."""
    generator = np.random.default_rng(seed)
    coarse = Image.fromarray(generator.integers(0, 256, (9, 9, 3), np.uint8)).resize((side, side))
    return (np.asarray(coarse) + generator.normal(0, 12, (side, side, 3))).clip(0, 255).astype(np.uint8)


def _jpeg(picture: Pixels) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=85)
    return file.getvalue()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
