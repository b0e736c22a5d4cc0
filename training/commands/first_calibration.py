"""The end of `train`: the threshold that the run's own held-out pictures give, and the commands that come next."""

from __future__ import annotations

from pathlib import Path

from training.bundling.calibrate import calibrate
from training.bundling.guarantee import minimum_count
from training.commands import announce
from training.data.lists import count_lines

TPR = CONFIDENCE = 0.95


def calibrate_or_say(bundle: Path, held_out: Path) -> None:
    """Calibrate the bundle on the list of held-out pictures, or say why not; then say what comes next."""
    count, needed = count_lines(held_out), minimum_count(TPR, CONFIDENCE)
    if count < needed:
        announce(f"not calibrated: {count} pictures were held out, and a threshold needs {needed}; give it others:")
        announce(f"  mos-guard calibrate --bundle {bundle} --data FOLDER")
        return
    done = calibrate(bundle, held_out, tpr=TPR, confidence=CONFIDENCE)
    low, high = done.tpr_interval
    announce(
        f"calibrated on {done.n} held-out pictures: threshold {done.threshold:.6f} keeps at least {TPR:.0%} of "
        f"pictures like them, with {CONFIDENCE:.0%} confidence; between {low:.2%} and {high:.2%}"
    )
    announce("next, see what gets in, choose a threshold, and serve:")
    announce(f"  mos-guard calibrate --bundle {bundle} --data {held_out} --strangers NAME=FOLDER [--tpr 0.9]")
    announce(f"  MOS_BUNDLE={bundle} python -m service")
