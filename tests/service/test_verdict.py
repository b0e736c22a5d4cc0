"""The one place that decides."""

import math
from dataclasses import replace

import numpy as np
import pytest

from service.errors import ModelOutputError
from service.verdict import Judge, Row, Verdict, accepts, p_value

NAN, INF = float("nan"), float("inf")

JUDGE = Judge(
    classes=("cat", "dog", "apple"),
    group_names=("animal", "food"),
    group_of_class=(0, 0, 1),
    decided_by="mos",
    thresholds=(-0.5, -0.5),
    ranks=(1, 2, 3, 4),
    reference_scores=(-0.9, -0.5, -0.5, -0.1),
)


def a_row(**changes: object) -> Row:
    """Return a sound row for JUDGE with *changes*; its least others score belongs to `food`."""
    others = np.array([0.75, 0.25], np.float32)
    top = np.array([2, 0, 1]), np.array([0.625, 0.125, 0.0625], np.float32)
    row = Row(2, 0.625, *top, others, mos=-0.25, score=-0.25)
    return row._replace(**changes)


@pytest.mark.parametrize(
    ("score", "threshold", "accepted"),
    [
        (-0.5, -0.5, True),
        (np.nextafter(-0.5, -1), -0.5, False),
        (np.nextafter(-0.5, 0), -0.5, True),
        (0.0, 0.0, True),
        (-0.0, 0.0, True),
        (-1.0, -1.0, True),
        (-0.3, -INF, True),
        (-0.3, INF, False),
    ],
)
def test_accepts_at_and_above_the_threshold(score: float, threshold: float, accepted: bool) -> None:
    """A score is in-distribution from the threshold itself upwards."""
    assert accepts(score, threshold) == accepted


def test_accepts_compares_in_float64() -> None:
    """A threshold between two float32 values is not rounded onto one of them."""
    score = np.float32(-0.1)  # a little below -0.1
    assert not accepts(np.array([score]), -0.1)[0]
    assert accepts(np.array([score]), float(score))[0]


def test_accepts_keeps_the_shape() -> None:
    """Calibration and evaluation decide on whole arrays by the same rule."""
    decided = accepts(np.array([[-0.6, -0.4], [-0.5, -1.0]], np.float32), -0.5)
    assert decided.tolist() == [[False, True], [True, False]]


@pytest.mark.parametrize(("scores", "threshold"), [([NAN], -0.5), ([-0.1, NAN], -0.5), (NAN, -0.5), ([-0.1], NAN)])
def test_accepts_refuses_nan(scores: object, threshold: float) -> None:
    """NaN is an error, never a decision."""
    with pytest.raises(ModelOutputError):
        accepts(scores, threshold)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("score", "expected"),
    [
        (-1.0, 1 / 5),
        (-0.9, 2 / 5),
        (-0.7, 2 / 5),
        (np.nextafter(-0.5, -1), 2 / 5),
        (-0.5, 4 / 5),  # both of the tied scores count
        (-0.2, 4 / 5),
        (-0.1, 1.0),
        (0.0, 1.0),
    ],
)
def test_p_value_counts_the_scores_not_above(score: float, expected: float) -> None:
    """p = (1 + number of calibration scores at or below the score) / (n + 1)."""
    assert p_value(score, (1, 2, 3, 4), (-0.9, -0.5, -0.5, -0.1)) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("score", "expected"),
    [
        (-0.95, 1 / 101),
        (-0.9, 10 / 101),  # 1 to 9 scores are at or below: as many as there can be
        (-0.8, 10 / 101),
        (-0.5, 50 / 101),
        (-0.3, 100 / 101),
        (-0.1, 1.0),
    ],
)
def test_p_value_rounds_up_where_thinned(score: float, expected: float) -> None:
    """Between stored ranks the p-value is that of the next stored rank."""
    assert p_value(score, (1, 10, 50, 100), (-0.9, -0.6, -0.4, -0.1)) == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(5))
def test_p_value_of_a_thinned_reference_is_never_smaller(seed: int) -> None:
    """Thinning the reference only ever raises a p-value, so it stays valid; ties change nothing."""
    random = np.random.default_rng(seed)
    scores = np.sort(-random.integers(0, 40, 200) / 40)
    ranks = [1, *sorted(random.choice(np.arange(2, 200), 20, replace=False).tolist()), 200]
    kept = scores[np.array(ranks) - 1].tolist()
    for score in np.linspace(-1.1, 0.1, 121):
        whole = p_value(score, range(1, 201), scores.tolist())
        assert whole == (1 + np.count_nonzero(scores <= score)) / 201
        assert whole <= p_value(score, ranks, kept) <= 1


def test_p_value_rises_with_the_score_and_is_never_zero() -> None:
    """The stranger an image, the smaller its p-value, but it is never impossible."""
    values = [p_value(score, (1, 7, 20), (-0.9, -0.9, -0.2)) for score in np.linspace(-1.5, 0.5, 201)]
    assert values == sorted(values)
    assert values[0] == 1 / 21
    assert values[-1] == 1


def test_p_value_is_super_uniform() -> None:
    """Over fresh draws from the calibration's own distribution, P(p <= a) does not exceed a."""
    random = np.random.default_rng(0)
    below = {0.05: 0, 0.2: 0, 0.5: 0}
    repeats = 4000
    for _ in range(repeats):
        *reference, fresh = random.random(40)
        reference.sort()
        ranks = [1, 5, 11, 20, 30, 39]
        value = p_value(fresh, ranks, [reference[rank - 1] for rank in ranks])
        for level in below:
            below[level] += value <= level
    for level, count in below.items():
        assert count / repeats <= level + 3 * math.sqrt(level * (1 - level) / repeats)


def test_p_value_refuses_nan() -> None:
    """NaN sorts nowhere, so it must not get the largest p-value by accident."""
    with pytest.raises(ModelOutputError):
        p_value(NAN, (1,), (-0.5,))


def test_verdict_holds_the_row_in_words() -> None:
    """The verdict names class, group and top classes and gives the decision with its p-value."""
    assert JUDGE.judge(a_row()) == Verdict(
        label="apple",
        class_index=2,
        probability=0.625,
        group="food",
        decision="in",
        decided_by="mos",
        mos=-0.25,
        score=-0.25,
        threshold=-0.5,
        p_value=0.8,
        others_scores={"animal": 0.75, "food": 0.25},
        top=[("apple", 0.625), ("cat", 0.125), ("dog", 0.0625)],
    )


@pytest.mark.parametrize(("others", "decision"), [(0.25, "in"), (0.5, "in"), (0.75, "out"), (1.0, "out"), (0.0, "in")])
def test_decision_follows_the_threshold(others: float, decision: str) -> None:
    """Judge and `accepts` agree, at the threshold too."""
    row = a_row(others_scores=np.array([1, others], np.float32), mos=-others, score=-others)
    assert JUDGE.judge(row).decision == decision


@pytest.mark.parametrize(
    ("class_index", "decision", "threshold"), [(0, "out", -0.2), (1, "out", -0.2), (2, "in", -0.5)]
)
def test_the_predicted_group_brings_its_threshold(class_index: int, decision: str, threshold: float) -> None:
    """One score is in where its group's threshold is low and out where it is high, and the answer names that one."""
    verdict = replace(JUDGE, thresholds=(-0.2, -0.5)).judge(a_row(class_index=class_index))
    assert (verdict.decision, verdict.threshold, verdict.p_value) == (decision, threshold, 0.8)


def test_accepts_takes_a_threshold_for_each_score() -> None:
    """As the judge does one by one; one of them NaN decides nothing."""
    assert accepts([-0.3, -0.3], [-0.3, -0.2]).tolist() == [True, False]
    with pytest.raises(ModelOutputError):
        accepts([-0.3, -0.3], [-0.5, NAN])


@pytest.mark.parametrize(("score", "decision"), [(-17.5, "out"), (-2.0, "in"), (-2.0000001, "out"), (3.5, "in")])
def test_the_score_decides_and_not_mos(score: float, decision: str) -> None:
    """With another statistic the score has another scale than MOS, which is told beside it and decides nothing."""
    judge = replace(JUDGE, decided_by="mos+knn", thresholds=(-2.0, -2.0), reference_scores=(-5.0, -2.0, 1.0, 2.0))
    verdict = judge.judge(a_row(score=score))
    assert (verdict.decision, verdict.decided_by, verdict.mos, verdict.score) == (decision, "mos+knn", -0.25, score)
    assert verdict.p_value == p_value(score, judge.ranks, judge.reference_scores)


def test_numbers_of_a_verdict_are_plain() -> None:
    """A verdict goes into JSON as it is: no numpy scalars."""
    verdict = JUDGE.judge(a_row())
    numbers = [verdict.probability, verdict.mos, verdict.score, verdict.p_value, *verdict.others_scores.values()]
    numbers += [probability for _, probability in verdict.top]
    assert {type(number) for number in numbers} == {float}
    assert type(verdict.class_index) is int


@pytest.mark.parametrize("bad", [NAN, INF, -INF])
@pytest.mark.parametrize("field", ["class_probability", "mos", "score", "topk_probability", "others_scores"])
@pytest.mark.parametrize("decided_by", ["mos", "mos+knn"])
def test_judge_refuses_what_is_not_finite(field: str, bad: float, decided_by: str) -> None:
    """No verdict rests on NaN or Inf, wherever in the row it is and whatever decides."""
    value = getattr(a_row(), field)
    if isinstance(value, np.ndarray):
        value = value.copy()
        value[-1] = bad
    else:
        value = bad
    with pytest.raises(ModelOutputError):
        replace(JUDGE, decided_by=decided_by).judge(a_row(**{field: value}))


@pytest.mark.parametrize(
    "changes",
    [
        {"class_index": 3},
        {"class_index": -1},
        {"topk_index": np.array([2, 0, 3])},
        {"topk_index": np.array([2, 0, -1])},
        {"topk_index": np.array([2, 0])},
        {"mos": -0.75},
        {"mos": 0.25},
        {"mos": -0.25000001},
        {"others_scores": np.array([0.75, 0.5], np.float32)},
        {"others_scores": np.array([0.25], np.float32)},
        {"others_scores": np.array([0.75, 0.25, 0.9], np.float32)},
        {"others_scores": np.array([], np.float32)},
    ],
)
@pytest.mark.parametrize("decided_by", ["mos", "mos+knn"])
def test_judge_refuses_a_row_that_contradicts_itself(changes: dict[str, object], decided_by: str) -> None:
    """A class that does not exist, a missing group or a MOS that is not -min(others) is an error, not an answer."""
    with pytest.raises(ModelOutputError):
        replace(JUDGE, decided_by=decided_by).judge(a_row(**changes))


@pytest.mark.parametrize("score", [-0.75, 0.25, -0.25000001])
def test_judge_refuses_a_score_that_is_not_the_mos_that_decides(score: float) -> None:
    """Where MOS decides, the number that is compared with the threshold is MOS, to the last bit."""
    with pytest.raises(ModelOutputError, match="MOS that decides"):
        JUDGE.judge(a_row(score=score))


@pytest.mark.parametrize("bad", [-0.01, 1.01, 7.0, -1e30])
@pytest.mark.parametrize("field", ["class_probability", "topk_probability", "others_scores"])
def test_judge_refuses_a_probability_that_is_none(field: str, bad: float) -> None:
    """Weights that were damaged in memory give such numbers; the smallest others score of all would be let in."""
    value = bad if field == "class_probability" else np.full_like(getattr(a_row(), field), bad)
    changes = {field: value} | (
        {"mos": -np.float32(bad), "score": -np.float32(bad)} if field == "others_scores" else {}
    )
    with pytest.raises(ModelOutputError, match="outside"):
        JUDGE.judge(a_row(**changes))


def test_judge_forgives_rounding() -> None:
    """A softmax that passes 1 by a unit in the last place is sound."""
    above = np.nextafter(np.float32(1), np.float32(2))
    row = a_row(class_probability=float(above), others_scores=np.array([above, 0.25], np.float32))
    assert JUDGE.judge(row).decision == "in"


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("decided_by", ["mos", "mos+knn"])
def test_judge_meets_garbage_with_a_verdict_that_holds_or_its_one_error(seed: int, decided_by: str) -> None:
    """Whatever numbers a row has, and however many: no other exception, no NaN, no MOS outside [-1, 0]."""
    random = np.random.default_rng(seed)
    judge = replace(JUDGE, decided_by=decided_by)
    for _ in range(200):
        try:
            verdict = judge.judge(garbage(random))
        except ModelOutputError:
            continue
        numbers = (verdict.probability, verdict.mos, verdict.score, verdict.p_value, *verdict.others_scores.values())
        assert all(map(math.isfinite, numbers))
        assert -1 <= verdict.mos <= 0
        assert verdict.decision == (
            "in" if verdict.score >= judge.thresholds[judge.group_of_class[verdict.class_index]] else "out"
        )


def garbage(random: np.random.Generator) -> Row:
    """Return a sound row of which every part is, one time in four, of wrong numbers or of a wrong length."""
    strange = np.array([NAN, INF, -INF, 0.0, -0.0, 1.0, -1.0, 3.4e38, -3.4e38, 1e-45, 0.25])
    integers = np.array([-(2**63), -1, 0, 1, 2, 3, 2**63 - 1])

    def numbers(sound: np.ndarray) -> np.ndarray:
        if random.random() < 0.75:
            return sound
        pool = integers if sound.dtype == np.int64 else strange.astype(np.float32)
        return random.choice(pool, random.integers(0, 5))

    def number(sound: float) -> float:
        return sound if random.random() < 0.75 else float(random.choice(strange))

    row = a_row()
    return Row(
        class_index=row.class_index if random.random() < 0.75 else int(random.choice(integers)),
        class_probability=number(row.class_probability),
        topk_index=numbers(row.topk_index),
        topk_probability=numbers(row.topk_probability),
        others_scores=numbers(row.others_scores),
        mos=number(row.mos),
        score=number(row.score),
    )


def test_judge_with_a_nan_threshold_decides_nothing() -> None:
    """A calibration that went wrong cannot let anything in."""
    with pytest.raises(ModelOutputError):
        replace(JUDGE, thresholds=(-0.5, NAN)).judge(a_row())
