"""The route for operators' labels: what comes in is in the file before it is answered, or the caller hears that not."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from fastapi import APIRouter, Request
from pydantic import ValidationError
from starlette.responses import JSONResponse, Response

from service.bundle import Manifest
from service.errors import MalformedBody, NotWritten, WrongFields
from service.http import openapi, schemas
from service.http.api_keys import KeyFile
from service.http.body import Body, BodyLimiter
from service.http.exchange import exchange_of
from service.inference.thread_pool import ThreadPool
from service.watch.feedback import Feedback, VerdictMemory, agreement, decision_on, feedback_line
from service.watch.json_lines import LineFile
from service.watch.metrics import Metrics

MAX_BODY_BYTES = 16 * 1024
# Of all bodies that are held at one time, those of labels that wait for the disk among them.
MAX_BUFFERED_BYTES = 64 * MAX_BODY_BYTES
# A disk that has not taken a label by then is blocked.
WRITE_SECONDS = 5.0
# A label takes some 400 bytes, so this is room for two and a half million; none is ever deleted to make more.
MAX_FILE_BYTES = 64 * 2**20
MAX_FILES = 16

router = APIRouter()


@dataclass(frozen=True, slots=True)
class FeedbackDesk:
    """What the route works with; `write` takes a line and says whether it is in the file."""

    keys: KeyFile
    body_limiter: BodyLimiter
    memory: VerdictMemory
    write: ThreadPool[bytes, bool]
    metrics: Metrics


@contextmanager
def open_desk(
    log: Path, *, keys: KeyFile, max_verdicts: int, timeout_seconds: float, metrics: Metrics
) -> Iterator[FeedbackDesk]:
    """Open the file *log* for labels, inside the event loop; raises SettingError where it cannot be written."""
    file = LineFile(log, setting="MOS_FEEDBACK_LOG", max_bytes=MAX_FILE_BYTES, max_files=MAX_FILES, keeps_all=True)
    # One thread, and not the loop's own ones: a blocked disk would use those up.
    writer: ThreadPool[bytes, bool] = ThreadPool(lambda line: file.write([line]) == 1, threads=1, name="feedback")
    writer.start()
    metrics.describe_feedback()
    limiter = BodyLimiter(
        max_body_bytes=MAX_BODY_BYTES, max_buffered_bytes=MAX_BUFFERED_BYTES, timeout_seconds=timeout_seconds
    )
    try:
        yield FeedbackDesk(keys, limiter, VerdictMemory(max_verdicts), writer, metrics)
    finally:
        writer.stop()
        file.close()


@router.post(
    "/feedback",
    summary="Tell what a picture really was",
    response_model=schemas.Labelled,
    responses=openapi.ok(schemas.LABELLED_EXAMPLE, "The label is written") | openapi.problems(*openapi.FEEDBACK_ERRORS),
    openapi_extra=openapi.LABEL,
)
async def feedback(request: Request) -> Response:
    """Label a picture by the id of the request that had it judged; a later label corrects an earlier one.

    The id is that of `X-Request-ID`; where the same id came several times, the label is about its latest verdict. One
    that the service does not remember, or another replica's, is written too, with the decision `unknown`. After a 503
    send the label again: it may be written twice, and counts once.
    """
    desk: FeedbackDesk = request.app.state.feedback
    desk.keys.check(request.scope["headers"])
    with Body(desk.body_limiter) as body:
        content = await body.read(request.receive, exchange_of(request).content_length)
        label = read_label(content)
        verdict = desk.memory.recall(label.key)
        served = request.app.state.serving.swap.guard.manifest
        check_class(label, served if verdict is None else verdict.manifest)
        await _write(feedback_line(label, verdict, time.time()), desk)
    if not desk.memory.is_first_label(label.key):
        desk.metrics.feedback_corrected()
    else:
        desk.metrics.feedback(
            label.side, decision_on(verdict), agreement(label, verdict) if label.names_class else None
        )
    return JSONResponse({**asdict(label), "decision": decision_on(verdict)})


def read_label(content: bytes) -> Feedback:
    """Return the label in a JSON body; raises MalformedBody or WrongFields."""
    try:
        label = schemas.Label.model_validate_json(content, strict=True)
    except ValidationError as error:
        [fault, *_] = error.errors(include_url=False, include_context=False, include_input=False)
        if fault["type"] == "json_invalid":
            raise MalformedBody("The body is no JSON; send an object with `request_id` and `label`.") from error
        where = next((f"The field `{name}`" for name in fault["loc"] if name in schemas.Label.model_fields), "The body")
        raise WrongFields(f"{where} is wrong: {fault['msg']}; /docs has an example.") from error
    return Feedback(label.request_id, label.index, label.label)


def check_class(label: Feedback, judge: Manifest) -> None:
    """Raise WrongFields for a class that the model lacks which judged the picture, or would have."""
    if label.names_class and label.label not in judge.classes:
        raise WrongFields("The label is neither `in`, `out` nor a class of the model; GET /model lists those served.")


async def _write(line: bytes, desk: FeedbackDesk) -> None:
    try:
        async with asyncio.timeout(WRITE_SECONDS):
            is_written = await desk.write.run(line)
    except TimeoutError:
        is_written = False
    if not is_written:
        desk.metrics.feedback_refused()
        raise NotWritten("The label could not be written, so it does not count; send it again later.")
