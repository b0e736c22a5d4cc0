"""The command line: `python -m training COMMAND`, installed as `mos-guard`."""

from __future__ import annotations

import sys

from service.errors import MosGuardError
from training.commands import app, bundles, demonstration, fitting, judging, predict, recalibration, scoring

__all__ = ["bundles", "demonstration", "fitting", "judging", "main", "predict", "recalibration", "scoring"]


def main(arguments: list[str] | None = None) -> None:
    """Run a command; what went wrong is one sentence on standard error and exit status 1."""
    try:
        app(arguments)
    except MosGuardError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(1)


if __name__ == "__main__":
    main()
