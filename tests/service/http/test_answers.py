"""What is told of the model is what its bundle holds."""

from dataclasses import replace

from service.bundle import Bundle, ReferenceScores
from service.http import schemas
from service.http.answers import model_card, thinned
from tests.service.bundle.parts import a_grouped_calibration, a_judged_calibration
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


def test_the_model_card_tells_what_gets_in(tiny_bundle: Bundle) -> None:
    """Every operating point with its strangers, as the calibration has them; none where there are none."""
    judged = a_judged_calibration()
    card = model_card(replace(tiny_bundle, calibration=judged), "cpu", None)
    assert card.guarantee is not None
    assert card.guarantee.operating_points == judged.operating_points
    assert card.guarantee.strangers == judged.strangers
    bare = model_card(tiny_bundle, "cpu", None).guarantee
    assert bare is not None
    assert (bare.operating_points, bare.strangers, bare.group_thresholds) == ([], None, [])


def test_the_model_card_tells_the_thresholds_of_groups(tiny_bundle: Bundle) -> None:
    """As the calibration has them, beside that of all others."""
    grouped = a_grouped_calibration()
    card = model_card(replace(tiny_bundle, calibration=grouped), "cpu", None)
    assert card.guarantee is not None
    assert card.guarantee.group_thresholds == grouped.group_thresholds
    assert card.threshold == grouped.threshold


async def test_the_model_card_tells_enough_scores_to_draw_them(running: RunningApp, tiny_bundle: Bundle) -> None:
    """No more than 101 of the calibration's scores by their ranks, evenly, the lowest and the highest among them."""
    calibration = tiny_bundle.calibration
    assert calibration is not None
    told = (await running.client.get("/model")).json()["guarantee"]["reference"]
    known = dict(zip(calibration.reference.ranks, calibration.reference.scores, strict=True))
    assert len(told["ranks"]) == 101
    assert [known[rank] for rank in told["ranks"]] == told["scores"]
    assert (told["ranks"][0], told["ranks"][-1]) == (1, calibration.n)
    assert max(b - a for a, b in zip(told["ranks"], told["ranks"][1:], strict=False)) == 2


def test_few_scores_are_all_told() -> None:
    """A reference that is small already stays as it is."""
    reference = ReferenceScores(ranks=[1, 2, 7], scores=[-0.9, -0.5, -0.1])
    assert thinned(reference) == reference
    alone = ReferenceScores(ranks=[1], scores=[-0.9])
    assert thinned(alone) == alone
