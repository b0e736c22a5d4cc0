"""Every exchange leaves its series and one line of log behind, and an internal error leaves its cause."""

import logging

import pytest
from prometheus_client import CollectorRegistry
from starlette.routing import Route

from service.errors import NotReady
from service.http.exchange import VERDICT_ROUTES, Exchange
from service.http.recording import record_exchange, record_problem, record_stage
from service.http.routes import router
from service.http.v2.routes import router as v2_router
from service.watch.metrics import Metrics
from tests.service.running_app import RunningApp
from tests.tiny_bundle import png

RED = png((235, 20, 20))
GREY = png((128, 128, 128))
CONVENTIONS = ("http.request.method", "http.route", "http.response.status_code")


async def test_verdicts_move_the_series(running: RunningApp) -> None:
    """Requests, decisions, stages and scores are counted; the canaries' verdicts are not among them."""
    await running.client.post("/predict", content=RED)
    await running.client.post("/predict/batch", files=[("files", ("x", RED)), ("files", ("y", GREY))])
    assert running.sample("mos_predictions_total", decision="in", group="warm") == 2
    assert running.sample("mos_score_count") == 3
    assert running.sample("mos_others_score_count", group="cool") == 3
    for stage, count in (("read", 2), ("decode", 3), ("queue", 3), ("inference", 3)):
        assert running.sample("mos_stage_duration_seconds_count", stage=stage) == count
    assert running.sample("mos_request_duration_seconds_count", route="/predict") == 1


def test_of_many_images_the_slowest_is_told() -> None:
    """An exchange took as long in a stage as the image that took longest."""
    exchange = Exchange("id", "/predict/batch", 0.0)
    metrics = Metrics(CollectorRegistry())
    for seconds in (0.1, 0.3, 0.2):
        record_stage("decode", 0.0, seconds, exchange, metrics)
    assert exchange.stage_seconds == {"decode": 0.3}


async def test_a_verdict_has_its_line(running: RunningApp, caplog: pytest.LogCaptureFixture) -> None:
    """The line has who asked, what was decided, and where the time went."""
    with caplog.at_level(logging.INFO, "service.request"):
        await running.client.post("/predict", content=RED, headers={"X-Request-ID": "abc"})
    [line] = [record.__dict__["fields"] for record in caplog.records if record.name == "service.request"]
    assert line["duration_ms"] > 0
    told = {name: line[name] for name in ("request_id", *CONVENTIONS)}
    assert told == dict(zip(("request_id", *CONVENTIONS), ("abc", "POST", "/predict", 200), strict=True))
    assert (line["decision"], line["decided_by"]) == ("in", "mos")
    assert {"read_ms", "decode_ms", "queue_ms", "inference_ms", "mos", "score"} <= set(line)


async def test_a_problem_has_its_code_in_the_line(running: RunningApp, caplog: pytest.LogCaptureFixture) -> None:
    """A refused image can be found by why it was refused."""
    with caplog.at_level(logging.INFO, "service.request"):
        await running.client.post("/predict", content=b"no image")
    [line] = [record.__dict__["fields"] for record in caplog.records if record.name == "service.request"]
    assert (line["http.response.status_code"], line["code"]) == (415, "unsupported_format")


@pytest.mark.parametrize(
    ("route", "is_public", "status", "level"),
    [
        ("/predict", False, 200, "INFO"),
        ("/predict", False, 500, "ERROR"),
        ("/metrics", True, 200, "DEBUG"),
        ("/metrics", False, 401, "INFO"),
        ("/health/ready", True, 503, "DEBUG"),
    ],
)
def test_a_line_is_as_loud_as_it_is_new(
    route: str, is_public: bool, status: int, level: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Failures stand out, and what is asked every few seconds stays quiet."""
    with caplog.at_level(logging.DEBUG, "service.request"):
        record_exchange(Exchange("id", route, 0.0, is_public, status=status), "GET", Metrics(CollectorRegistry()))
    assert [record.levelname for record in caplog.records] == [level]


def test_the_cause_of_an_internal_error_is_logged_under_the_id(caplog: pytest.LogCaptureFixture) -> None:
    """What the caller must not see is there for whoever has the caller's id."""
    error = RuntimeError("the cause")
    record_problem(error, Exchange("abc", "/predict", 0.0), Metrics(CollectorRegistry()))
    [record] = caplog.records
    assert record.__dict__["fields"] == {"request_id": "abc"}
    assert record.exc_info is not None
    assert record.exc_info[1] is error


def test_only_what_was_to_be_judged_is_a_reject() -> None:
    """Otherwise a start, a label without its key or a mistyped path would look like refused images."""
    registry = CollectorRegistry()
    metrics = Metrics(registry)
    for route in ("/health/ready", "/feedback", "/model", "/docs", "other", "/predict"):
        record_problem(NotReady("The service is starting."), Exchange("id", route, 0.0), metrics)
    assert registry.get_sample_value("mos_rejected_total", {"reason": "not_ready"}) == 1


def test_every_route_that_takes_images_counts_what_it_refuses() -> None:
    """A new one that is forgotten here would refuse unseen."""
    routes = [route for part in (router, v2_router) for route in part.routes if isinstance(route, Route)]
    assert {route.path for route in routes if "POST" in (route.methods or ())} == VERDICT_ROUTES
