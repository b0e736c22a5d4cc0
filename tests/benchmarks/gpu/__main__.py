"""How fast a GPU serves, and how near that comes to what the card can do.

    python -m tests.benchmarks.gpu --out DIR                    # all parts, then the table
    python -m tests.benchmarks.gpu --out DIR --part engine      # one part; rows that are there already are not repeated
    python -m tests.benchmarks.gpu --out DIR --table            # the table of what is there
    python -m tests.benchmarks.gpu --out DIR --device cpu --quick

Random weights serve for speed. Each row is written when it is measured, and a part stops before `--minutes` are over:
ask again, and it goes on. `rates` comes first, for the other rows are told as shares of it.

The first time that a GPU is at hand, in this order:

1. Does it work? `pip install '.[cuda,training,dev]'`, `pytest -m gpu`. Then `MOS_PROVIDER=cuda python -m service`: the
   log names cuda, says nothing of memory that could not be pinned, and the canaries of the shipped bundle agree, which
   compares the card with the CPU. With a bundle of float16, and with MOS_CUDA_GRAPHS=true, the same. Where TensorRT
   is installed, MOS_PROVIDER=tensorrt with MOS_TENSORRT_CACHE: the log says how long it built, and at a second start
   how long it read. Fill the device's memory from another process while it serves: a batch that fails is answered
   503, and /health/ready falls until the canaries pass again.
2. How fast? `--part rates`, `engine`, `torch`, `service`, `tensorrt`, then `--table`, to be committed with the card's
   name in it. Read off it: binding against plain runs; two in flight against one (whether the batcher is worth a second
   thread); graphs at batch 1 to 4; NHWC and the searches (whether `sessions.cuda_options` should change); what TF32 and
   float16 move in MOS (column `moved`) against the canaries' tolerance of 0.01; the service against the engine alone
   and against decoding alone, which tells where the next bottleneck is.
3. Train: the shipped model by the best recipe known, for as long as the card is there; keep the run's folder; export,
   calibrate and evaluate it. With time left, the outliers' pictures at 64 pixels.
4. Distribute: `torchrun --nproc-per-node 1 -m training train ...` with NCCL in a world of one, `--compile`, bfloat16:
   pictures a second against one process without them.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch

from tests.benchmarks.gpu import engines, rates, served, torch_models
from tests.benchmarks.gpu.results import Plan, Results
from tests.benchmarks.gpu.table import table

PARTS = {
    "rates": rates.measure,
    "engine": engines.measure,
    "torch": torch_models.measure,
    "service": served.measure,
    "tensorrt": engines.measure_tensorrt,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for rows as JSON lines, models and table.md")
    parser.add_argument("--part", choices=PARTS, help="one part; all of them without")
    parser.add_argument("--table", action="store_true", help="measure nothing, print the table of what is there")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--quick", action="store_true", help="small models and few batches, to see that it runs")
    parser.add_argument("--minutes", type=float, default=8.5, help="a part begins no further row after this")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for name in [] if args.table else [args.part] if args.part else PARTS:
        plan = Plan(args.device, quick=args.quick, folder=args.out, ends_at=time.monotonic() + 60 * args.minutes)
        PARTS[name](plan, Results(args.out / f"{name}.jsonl", plan))
    printed = table(args.out)
    (args.out / "table.md").write_text(printed)
    print(printed)


if __name__ == "__main__":
    main()
