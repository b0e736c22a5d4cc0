"""A verdict to record."""

from service.verdict import Verdict

VERDICT = Verdict(
    label="red",
    class_index=0,
    probability=0.9,
    group="warm",
    decision="in",
    decided_by="mos",
    mos=-0.1,
    score=-0.1,
    threshold=-0.9,
    p_value=0.5,
    others_scores={"warm": 0.1, "cool": 0.99},
    top=[("red", 0.9)],
)
