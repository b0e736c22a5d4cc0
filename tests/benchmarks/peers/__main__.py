"""How fast this service is beside LitServe, BentoML and a plain FastAPI loop, and how near to what is possible.

    python -m venv peers                                  # with the service's own version of ONNX Runtime
    peers/bin/pip install litserve bentoml fastapi uvicorn python-multipart numpy pillow pydantic onnxruntime==VERSION
    python -m tests.benchmarks.peers --out DIR --peers-python peers/bin/python --small PICTURES --photos PICTURES
    ... --minutes 4                                       # a slice; the same again goes on where it stopped
    python -m tests.benchmarks.peers --quick              # this service and the plain loop, in a minute
    python -m tests.benchmarks.peers --out DIR --report --record    # tables and picture, beside this file

Every server has the same pictures, the same ONNX file, the same decoder and an answer of label, probability, score and
decision; before it is timed, it must answer some pictures as the bundle does offline. Each peer runs with the settings
that were its fastest in a search. All servers of a bundle are up at a time, and all but one frozen: in each round a
load is put to one after the other, and what is told are medians over rounds and of ratios within a round.

The first time, a bundle is trained in DIR as a user's own would be, for which the training extra is needed.
"""

from __future__ import annotations

import argparse
import math
import signal
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from service.settings import DEFAULT_BUNDLE
from tests.benchmarks import pictures
from tests.benchmarks.peers import plan
from tests.benchmarks.peers.contest import Contest, OutOfTimeError
from tests.benchmarks.peers.journal import Journal
from tests.benchmarks.peers.machine import write_machine
from tests.benchmarks.peers.own_bundle import own_bundle
from tests.benchmarks.peers.picture import draw
from tests.benchmarks.peers.plan import Plan, Scene
from tests.benchmarks.peers.report import report

ALL = ("service", "litserve", "bentoml", "plain")
UNCOMMON = {"bundle": "own", "body": "small"}


def main() -> None:
    args = _arguments()
    # Told to end, it ends the servers too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("It was told to end; run it again to go on."))
    with tempfile.TemporaryDirectory() as temporary:
        folder = (args.out or Path(temporary)).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        journal = Journal(folder)
        if not args.report:
            _measure(args, folder, journal)
        told = report(folder, journal)
        results = Path(__file__).parent if args.record else folder
        (results / "RESULTS.md").write_text(told)
        draw(journal, results / "RESULTS.png")
        print(told)


def _measure(args: argparse.Namespace, folder: Path, journal: Journal) -> None:
    sizes = plan.quick() if args.quick else Plan(rounds=args.rounds)
    contest = Contest(sizes, journal, folder, args.peers_python, ends_at=time.monotonic() + 60 * args.minutes)
    write_machine(folder, args.peers_python)
    try:
        contest.run(_scenes(args, folder))
    except OutOfTimeError:
        print("The time is over; run it again to go on.", file=sys.stderr)


def _scenes(args: argparse.Namespace, folder: Path) -> list[Scene]:
    """Return each bundle with each kind of pictures; in a hurry, the shipped bundle with small ones."""
    bodies = {
        "small": pictures.from_folder(args.small) if args.small else pictures.made_small(),
        "photos": pictures.from_folder(args.photos) if args.photos else pictures.made_photos(),
    }
    if args.quick:
        return [Scene("shipped", "small", DEFAULT_BUNDLE, tuple(bodies["small"]), args.servers)]
    bundles = {"shipped": DEFAULT_BUNDLE, "own": own_bundle(folder / "own")}
    scenes = [
        Scene(name, body, path, tuple(bodies[body]), args.servers) for name, path in bundles.items() for body in bodies
    ]
    # Nobody sends small pictures to a model of large ones: that pair is for capacity planning alone.
    return [replace(scene, servers=("service",)) if scene.key == UNCOMMON else scene for scene in scenes]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--out", type=Path, help="folder for rounds.jsonl, the second bundle and tables; none is kept without"
    )
    parser.add_argument("--peers-python", type=Path, default=Path(sys.executable), help="a Python that has the peers")
    parser.add_argument("--small", type=Path, help="folder of small pictures; made ones without")
    parser.add_argument("--photos", type=Path, help="folder of photos; made ones without")
    parser.add_argument("--servers", type=lambda names: tuple(names.split(",")), help=f"of {','.join(ALL)}")
    parser.add_argument("--rounds", type=int, default=Plan.rounds, help="of each load")
    parser.add_argument("--minutes", type=float, default=math.inf, help="nothing further is begun after this")
    parser.add_argument("--quick", action="store_true", help="few and short loads, no search")
    parser.add_argument("--report", action="store_true", help="measure nothing, tell what is there")
    parser.add_argument("--record", action="store_true", help="write tables and picture beside this file")
    args = parser.parse_args()
    if args.servers is None:
        args.servers = ("service", "plain") if args.quick else ALL
    # A relative path would name another file to a server, which runs in a folder of its own.
    args.peers_python = args.peers_python.absolute()
    return args


if __name__ == "__main__":
    main()
