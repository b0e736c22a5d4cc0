"""What a client does, written once: each call is a generator that yields what to send and how long to wait.

Whoever drives it sends the requests and waits, in a thread or in an event loop, and hands the answers back. Nothing
here touches a connection or sleeps.
"""

import io
import os
import random
import time
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, TypeVar

import httpx
from PIL import Image

from service.client.answers import (
    Labelled,
    Model,
    Problem,
    Refused,
    Verdict,
    labelled_of,
    model_of,
    problem_of,
    unexpected,
    verdict_of,
)

T = TypeVar("T")
# The bytes of an encoded picture, the path of a file of them, or a picture of Pillow's.
Picture = bytes | str | os.PathLike[str] | Image.Image

# The service takes 32 pictures and 10 MiB a request unless set otherwise.
BATCH_PICTURES = 32
BATCH_BYTES = 8 * 2**20
# Where a busy service, or what stands before it, does not say when to come back.
DEFAULT_WAIT_SECONDS = 1.0
# Clients that were refused together shall not come back together.
_SPREAD = 0.25
_BUSY = (429, 503)


@dataclass(frozen=True, slots=True)
class Send:
    """A request to send; the answer is to be handed back."""

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] = field(default_factory=dict)  # keyword arguments of httpx that make the body


@dataclass(frozen=True, slots=True)
class Wait:
    """Seconds to wait; nothing is to be handed back."""

    seconds: float


Call = Generator[Send | Wait, httpx.Response | None, T]


@dataclass(frozen=True, slots=True)
class Calls:
    """Every call that there is. *retry_seconds* is the longest time that one call may wait for a busy service."""

    feedback_key: str | None
    retry_seconds: float

    def predict(self, picture: Picture, request_id: str | None) -> Call[Verdict]:
        """Judge one picture."""
        headers = {"Content-Type": "application/octet-stream"} | _id_header(request_id)
        send = Send("POST", "predict", headers, {"content": encoded(picture)})
        return verdict_of((yield from self._answered(send)))

    def predict_batch(self, pictures: Iterable[Picture]) -> Call[list[Verdict | Problem]]:
        """Judge many pictures, some in each request."""
        outcomes: list[Verdict | Problem] = []
        for batch in batches(map(encoded, pictures)):
            files = [("files", (f"{index}", content)) for index, content in enumerate(batch)]
            items = yield from self._answered(Send("POST", "predict/batch", body={"files": files}))
            if not isinstance(items, list) or len(items) != len(batch):
                raise unexpected()
            outcomes += [
                problem_of(item) if "code" in item else verdict_of(item, index) for index, item in enumerate(items)
            ]
        return outcomes

    def ready(self) -> Call[bool]:
        """Ask whether verdicts are given now."""
        response = yield Send("GET", "health/ready")
        assert response is not None, "whoever drives a call hands the answer back"
        if response.status_code not in (200, 503):
            raise _refusal(response)
        return response.status_code == 200

    def model(self) -> Call[Model]:
        """Ask what is served."""
        return model_of((yield from self._answered(Send("GET", "model"))))

    def feedback(self, about: Verdict | str, label: str, index: int) -> Call[Labelled]:
        """Tell what a picture really was."""
        request_id, index = (about.request_id, about.index) if isinstance(about, Verdict) else (about, index)
        document = {"request_id": request_id, "label": label, "index": index}
        headers = {} if self.feedback_key is None else {"X-API-Key": self.feedback_key}
        return labelled_of((yield from self._answered(Send("POST", "feedback", headers, {"json": document}))))

    def _answered(self, send: Send) -> Call[Any]:
        """Send until there is an answer of 200; a busy service is asked again while the time lasts."""
        give_up_at = time.monotonic() + self.retry_seconds
        while True:
            response = yield send
            assert response is not None, "whoever drives a call hands the answer back"
            if response.status_code == 200:
                return _json(response)
            wait_seconds = retry_after(response) * random.uniform(1, 1 + _SPREAD)
            if response.status_code not in _BUSY or time.monotonic() + wait_seconds > give_up_at:
                raise _refusal(response)
            yield Wait(wait_seconds)


def encoded(picture: Picture) -> bytes:
    """Return the bytes of an encoded picture; one of Pillow's becomes a PNG, which loses nothing. Raises OSError."""
    if isinstance(picture, bytes):
        return picture
    if not isinstance(picture, Image.Image):
        return Path(picture).read_bytes()
    as_png = picture if picture.mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16") else picture.convert("RGB")
    content = io.BytesIO()
    # With its EXIF block, so that a picture that was opened and not yet turned is turned by the service.
    as_png.save(content, "PNG", exif=picture.getexif())
    return content.getvalue()


def batches(contents: Iterable[bytes]) -> Iterator[Sequence[bytes]]:
    """Share encoded pictures out to requests, in order; a picture that fills a request goes alone."""
    batch: list[bytes] = []
    size_bytes = 0
    for content in contents:
        if batch and (len(batch) == BATCH_PICTURES or size_bytes + len(content) > BATCH_BYTES):
            yield batch
            batch, size_bytes = [], 0
        batch.append(content)
        size_bytes += len(content)
    if batch:
        yield batch


def retry_after(response: httpx.Response) -> float:
    """Return the seconds that a Retry-After asks to wait, given in seconds or as a date."""
    value = response.headers.get("Retry-After", "")
    if value.isascii() and value.isdigit():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return DEFAULT_WAIT_SECONDS


def _refusal(response: httpx.Response) -> Exception:
    """Return the exception of an answer other than 200; what stands before the service may answer in its own way."""
    if response.headers.get("Content-Type") == "application/problem+json":
        return Refused(problem_of(_json(response)))
    status = response.status_code
    return Refused(Problem(status, f"http_{status}", response.reason_phrase, "No problem document came with it.", ""))


def _json(response: httpx.Response) -> Any:
    try:
        return response.json()
    except ValueError as error:
        raise unexpected() from error


def _id_header(request_id: str | None) -> dict[str, str]:
    return {} if request_id is None else {"X-Request-ID": request_id}
