"""Whether verdicts may be given, and if not, why: readiness is the absence of faults."""

from collections.abc import Set
from typing import Literal

from service.errors import NotReady

Fault = Literal["starting", "uncalibrated", "engine", "canary", "draining"]

_SENTENCES: dict[Fault, str] = {
    "draining": "The service is shutting down; send the request to another replica.",
    "uncalibrated": (
        "The bundle is not calibrated; run `python -m training calibrate --bundle BUNDLE --data DIR`"
        " and send the service SIGHUP, or restart it."
    ),
    "starting": "The service is starting; try again soon.",
    "engine": "The engine failed and has not passed a check since; try again later or restart the service.",
    "canary": "The model no longer gives the answers expected of it; restart the service or serve another bundle.",
}


class Health:
    """What is wrong with one process, or with one guard in it. Safe to use from any thread."""

    def __init__(self, *faults: Fault) -> None:
        self._faults: set[Fault] = set(faults)

    def fail(self, fault: Fault) -> None:
        """Note *fault*: nothing is ready until it is cleared."""
        self._faults.add(fault)

    def clear(self, *faults: Fault) -> None:
        """Take *faults* back."""
        for fault in faults:
            self._faults.discard(fault)

    @property
    def faults(self) -> Set[Fault]:
        """All that is wrong now."""
        return frozenset(self._faults)

    @property
    def draining(self) -> bool:
        """True from the moment the process was told to end."""
        return "draining" in self._faults


def require_none(faults: Set[Fault]) -> None:
    """Raise NotReady, with the weightiest fault's sentence, where there is a fault."""
    if faults:
        raise NotReady(next(sentence for fault, sentence in _SENTENCES.items() if fault in faults))
