"""Whether verdicts may be given, and if not, why: readiness is the absence of faults."""

import time
from collections.abc import Callable, Set
from typing import Literal

from service.errors import NotReady

Fault = Literal["starting", "uncalibrated", "engine", "canary", "draining"]

_SENTENCES: dict[Fault, str] = {
    "draining": "The service is shutting down; send the request to another replica.",
    "uncalibrated": (
        "The bundle is not calibrated; run `python -m training calibrate --bundle BUNDLE --data DIR`"
        "; the service takes it on SIGHUP, by itself where MOS_BUNDLE_WATCH_SECONDS is set, or when it is restarted."
    ),
    "engine": "The engine fails or hangs and has not passed a check since; try again later or restart the service.",
    "starting": "The service is starting; try again soon.",
    "canary": "The model no longer gives the answers expected of it; restart the service or serve another bundle.",
}


class Health:
    """What is wrong with one process, or with one guard in it, and since when. Safe to use from any thread."""

    def __init__(self, *faults: Fault, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since: dict[Fault, float] = {}
        for fault in faults:
            self.fail(fault)

    def fail(self, fault: Fault) -> None:
        """Note *fault*: nothing is ready until it is cleared."""
        self._since.setdefault(fault, self._clock())

    def clear(self, *faults: Fault) -> None:
        """Take *faults* back."""
        for fault in faults:
            self._since.pop(fault, None)

    def seconds(self, fault: Fault) -> float:
        """For how long *fault* has stood; 0 where it does not."""
        since = self._since.get(fault)
        return 0.0 if since is None else self._clock() - since

    @property
    def faults(self) -> Set[Fault]:
        """All that is wrong now."""
        return frozenset(self._since)

    @property
    def draining(self) -> bool:
        """True from the moment the process was told to end."""
        return "draining" in self._since


def require_none(faults: Set[Fault]) -> None:
    """Raise NotReady, with the weightiest fault's sentence, where there is a fault."""
    if faults:
        raise NotReady(next(sentence for fault, sentence in _SENTENCES.items() if fault in faults))
