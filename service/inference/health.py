"""Whether this process may give verdicts, and if not, why: readiness is the absence of faults."""

from typing import Literal

from service.errors import NotReady

Fault = Literal["starting", "uncalibrated", "engine", "canary", "draining"]

_SENTENCES: dict[Fault, str] = {
    "draining": "The service is shutting down; send the request to another replica.",
    "uncalibrated": (
        "The bundle is not calibrated; run `python -m training calibrate --bundle BUNDLE --data DIR`"
        " and restart the service."
    ),
    "starting": "The service is starting; try again soon.",
    "engine": "The engine failed and has not passed a check since; try again later or restart the service.",
    "canary": "The model no longer gives the answers expected of it; restart the service or serve another bundle.",
}


class Health:
    """The faults of one process; it starts with being at its start. Safe to call from any thread."""

    def __init__(self) -> None:
        self._faults: set[Fault] = {"starting"}

    def fail(self, fault: Fault) -> None:
        """Note *fault*: the service is not ready until it is cleared."""
        self._faults.add(fault)

    def clear(self, *faults: Fault) -> None:
        """Take *faults* back."""
        for fault in faults:
            self._faults.discard(fault)

    @property
    def ready(self) -> bool:
        """True where nothing speaks against a verdict."""
        return not self._faults

    @property
    def draining(self) -> bool:
        """True from the moment the process was told to end."""
        return "draining" in self._faults

    def require_ready(self) -> None:
        """Raise NotReady, with the weightiest fault's sentence, unless the service is ready."""
        if self._faults:
            raise NotReady(next(sentence for fault, sentence in _SENTENCES.items() if fault in self._faults))
