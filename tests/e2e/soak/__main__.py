"""Soak the shipped model: `python -m tests.e2e.soak --seconds 600 --seed 1`; exit status 1 where anything is wrong."""

import argparse
import sys
import tempfile
from pathlib import Path

from service.bundle import read_bundle
from service.settings import DEFAULT_BUNDLE
from tests.e2e.drill import pictures_in
from tests.e2e.rival_bundle import write_rival
from tests.e2e.soak.mix import made_pictures
from tests.e2e.soak.soak import soak, table

PICTURES = 200


def main() -> None:
    """Soak it, beside a rival version of it, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=120, help="how long (120)")
    parser.add_argument("--seed", type=int, default=1, help="of requests, arrivals and faults (1)")
    parser.add_argument("--share", type=float, default=0.8, help="of the capacity measured first (0.8)")
    parser.add_argument("--bundle", type=Path, default=DEFAULT_BUNDLE, help="a calibrated bundle (the shipped one)")
    parser.add_argument("--pictures", type=Path, help="pictures to send (made ones)")
    given = parser.parse_args()
    own = [canary.encoded for canary in read_bundle(given.bundle).canaries]
    own += pictures_in(given.pictures, PICTURES) if given.pictures else made_pictures(PICTURES, given.seed)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        rival = write_rival(given.bundle, folder / "rival", version="rival")
        report = soak(
            folder,
            [given.bundle.resolve(), rival.path],
            own,
            seconds=given.seconds,
            seed=given.seed,
            pause_seconds=5,
            share=given.share,
        )
    print(table(report, given.seed))
    sys.exit(1 if report.complaints else 0)


if __name__ == "__main__":
    main()
