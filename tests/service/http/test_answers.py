"""What is told of the model is what its bundle holds."""

from service.bundle import Bundle
from service.http import schemas
from tests.service.running_app import RunningApp, running_app


async def test_the_model_card_tells_the_model_and_its_guarantee(running: RunningApp, tiny_bundle: Bundle) -> None:
    """What is served, on what, and what the threshold promises."""
    response = await running.client.get("/model")
    card = schemas.ModelCard.model_validate_json(response.content)
    manifest, calibration = tiny_bundle.manifest, tiny_bundle.calibration
    assert calibration is not None
    assert (card.classes, card.groups, card.input) == (manifest.classes, manifest.groups, manifest.input)
    assert (card.provider, card.model_sha256) == ("cpu", manifest.model_sha256)
    assert card.threshold == calibration.threshold
    assert card.guarantee is not None
    for name in ("n", "k", "tpr", "confidence", "tpr_interval", "created", "method"):
        assert getattr(card.guarantee, name) == getattr(calibration, name)
    assert card.decision == manifest.decision_in_force
    assert card.decision.statistic == "mos"


async def test_the_model_card_tells_what_decides(mos_and_logit_bundle: Bundle) -> None:
    """The statistic, its parts with their weights and moments, and the threshold that is of its scale."""
    manifest, calibration = mos_and_logit_bundle.manifest, mos_and_logit_bundle.calibration
    assert calibration is not None
    async with running_app(mos_and_logit_bundle.path) as running:
        card = schemas.ModelCard.model_validate_json((await running.client.get("/model")).content)
    assert card.decision == manifest.decision
    assert card.threshold == calibration.threshold < -1, "below what MOS can be"
