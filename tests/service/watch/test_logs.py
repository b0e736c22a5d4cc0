"""Log lines are whole, parsable and never in the way."""

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.watch.background import MAX_WAITING
from service.watch.logs import BackgroundHandler, JsonFormatter, TextFormatter


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    logger = logging.getLogger("tests.logs")
    logger.propagate = False
    logger.setLevel(logging.INFO)
    yield logger
    logger.handlers.clear()


def test_a_json_line_holds_the_fields_and_is_one_line(logger: logging.Logger, tmp_path: Path) -> None:
    """Whatever is logged, a line is one JSON object."""
    path = tmp_path / "log"
    with path.open("wb") as sink:
        handler = BackgroundHandler(sink.fileno())
        handler.setFormatter(JsonFormatter())
        logger.addHandler(handler)
        logger.info("two\nlines", extra={"fields": {"status": 200}})
        try:
            raise ValueError("broken")
        except ValueError:
            logger.exception("failed")
        handler.close()
    first, second = map(json.loads, path.read_text().splitlines())
    assert (first["body"], first["status"], first["severity_text"]) == ("two\nlines", 200, "INFO")
    assert (second["exception.type"], second["exception.message"]) == ("ValueError", "broken")
    assert "ValueError: broken" in second["exception.stacktrace"]


def test_a_text_line_shows_the_fields() -> None:
    """For eyes: the message, then name=value."""
    record = logging.makeLogRecord({"msg": "request", "levelname": "INFO", "fields": {"status": 200}})
    assert TextFormatter().format(record).endswith("INFO    request status=200")


def test_a_blocked_sink_does_not_block(logger: logging.Logger) -> None:
    """With nobody reading the pipe, logging goes on, bounded, and what is dropped is counted."""
    reader, writer = os.pipe()
    handler = BackgroundHandler(writer)
    logger.addHandler(handler)
    for _ in range(3 * MAX_WAITING):  # some are in the pipe, some in the thread, the rest wait or are dropped
        logger.info("x" * 100)
    assert handler.dropped_lines > 0
    os.close(reader)  # the writer's thread wakes with an error, and survives it
    handler.close()
    os.close(writer)


def test_a_failing_sink_is_survived(logger: logging.Logger) -> None:
    """A full disk or a closed pipe costs lines, nothing else."""
    reader, writer = os.pipe()
    os.close(reader)
    handler = BackgroundHandler(writer)
    logger.addHandler(handler)
    logger.info("lost")
    handler.close()
    assert handler.dropped_lines == 1
    os.close(writer)
