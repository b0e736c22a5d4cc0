"""The service's JSON lines about the tiny bundle, for the tests of what is made of them."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from service.bundle import Manifest

Line = dict[str, Any]
THRESHOLD = -0.5  # of verdict lines that say no other


def verdict_line(manifest: Manifest, request_id: str, score: float, decision: str, **changes: Any) -> Line:
    """A line of the verdict log."""
    return {
        "kind": "verdict",
        "time": "2026-01-02T03:04:05.678+00:00",
        "request_id": request_id,
        "index": 0,
        "model": manifest.name,
        "version": manifest.version,
        "model_sha256": manifest.model_sha256,
        "threshold": THRESHOLD,
        "label": "red",
        "group": "warm",
        "decision": decision,
        "decided_by": "mos",
        "mos": score,
        "score": score,
        "p_value": 0.5,
        "sampled": 1.0,
        **changes,
    }


def feedback_line(request_id: str, label: str, **changes: Any) -> Line:
    """A label of a verdict that the service no longer knew."""
    unknown = {"decision": "unknown", "model": None, "version": None, "model_sha256": None, "score": None}
    members = {"kind": "feedback", "time": "2026-01-02T03:05:00.000+00:00", "request_id": request_id, "index": 0}
    return {**members, "label": label, **unknown, "predicted": None, **changes}


def remembered(manifest: Manifest, request_id: str, label: str, score: float, decision: str, **changes: Any) -> Line:
    """A label of a verdict that the service still knew."""
    known = {"model": manifest.name, "version": manifest.version, "model_sha256": manifest.model_sha256}
    return feedback_line(
        request_id, label, **{"score": score, "decision": decision, "predicted": "red", **known, **changes}
    )


def write_lines(file: Path, lines: Iterable[Line]) -> Path:
    """A file of them."""
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file
