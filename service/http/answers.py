"""What the service says about an image and about the model it serves; errors are in problems.py."""

from bisect import bisect_left
from typing import Any

from service.bundle import Bundle, Manifest, ReferenceScores
from service.http import schemas
from service.inference.engine import Provider
from service.verdict import Verdict
from service.watch.drift import Drift

# Of the calibration scores /model tells as many as draw their distribution.
REFERENCE_SCORES = 101


def verdict_document(verdict: Verdict, manifest: Manifest, request_id: str) -> dict[str, Any]:
    """Return the flat answer for one image; built by hand, for it is on the hot path, and tested against the schema."""
    return {
        "label": verdict.label,
        "class_index": verdict.class_index,
        "probability": verdict.probability,
        "group": verdict.group,
        "decision": verdict.decision,
        "decided_by": verdict.decided_by,
        "mos": verdict.mos,
        "score": verdict.score,
        "threshold": verdict.threshold,
        "p_value": verdict.p_value,
        "others_scores": verdict.others_scores,
        "top": [{"label": label, "probability": probability} for label, probability in verdict.top],
        "model": manifest.name,
        "version": manifest.version,
        "request_id": request_id,
    }


def model_card(bundle: Bundle, provider: Provider, drift: Drift | None) -> schemas.ModelCard:
    """Return what /model tells of *bundle* as it is served on *provider* and watched by *drift*."""
    manifest, calibration = bundle.manifest, bundle.calibration
    return schemas.ModelCard(
        **manifest.model_dump(exclude={"schema_version", "decision"}),
        provider=provider,
        decision=manifest.decision_in_force,
        threshold=None if calibration is None else calibration.threshold,
        guarantee=None
        if calibration is None
        else schemas.Guarantee(
            **calibration.model_dump(exclude={"threshold", "reference"}),
            reference=thinned(calibration.reference),
        ),
        drift=None if drift is None else _drift(drift),
        preprocess_sha256=manifest.input.sha256,
    )


def thinned(reference: ReferenceScores, at_most: int = REFERENCE_SCORES) -> ReferenceScores:
    """Return *reference* at no more than *at_most* ranks, evenly as far as it has them, first and last included."""
    ranks = reference.ranks
    wanted = (1 + (ranks[-1] - 1) * step / (at_most - 1) for step in range(at_most))
    kept = sorted({bisect_left(ranks, rank) for rank in wanted})
    return ReferenceScores(ranks=[ranks[i] for i in kept], scores=[reference.scores[i] for i in kept])


def _drift(drift: Drift) -> schemas.DriftTests:
    return schemas.DriftTests(
        images=drift.pictures,
        expected_reject_share=drift.in_control_reject_share,
        sought_reject_share=drift.reject_share,
        tests={kind: schemas.DriftTest(**state._asdict()) for kind, state in drift.states.items()},
    )
