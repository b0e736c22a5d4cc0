"""Each row of the contract's status table, against a running server."""

import io
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from service.http import schemas
from tests.server_process import ServerProcess, running_server
from tests.tiny_bundle import png, write_tiny_bundle

pytestmark = pytest.mark.e2e

RED = png((235, 20, 20))
MAX_BODY_BYTES = 200_000
MAX_PIXELS = 4_000_000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("server")
    bundle = write_tiny_bundle(folder / "bundle", nan_on_black=True)
    limits = {"max_body_bytes": MAX_BODY_BYTES, "max_pixels": MAX_PIXELS, "body_timeout_ms": 2000}
    with running_server(folder, bundle=bundle.path, **limits) as server:
        server.wait_until_ready()
        yield server


@pytest.fixture(scope="module", autouse=True)
def never_ending_head(server: ServerProcess) -> Iterator[socket.socket]:
    """A connection whose headers do not come, opened before the first test: the service gives them ten seconds."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        connection.sendall(b"GET /model HTTP/1.1\r\nX-Slow: ")
        yield connection


def problem(response: httpx.Response) -> schemas.Problem:
    """Return the problem document, having checked that it is one and agrees with its response."""
    assert response.headers["Content-Type"] == "application/problem+json"
    document = schemas.Problem.model_validate_json(response.content, strict=True)
    assert document.status == response.status_code
    assert document.request_id == response.headers["X-Request-ID"]
    return document


def post(server: ServerProcess, content: Any, **headers: str) -> httpx.Response:
    return httpx.post(f"{server.url}/predict", content=content, headers=headers, timeout=60)


def exchange(server: ServerProcess, *pieces: bytes, pause_seconds: float = 0.0) -> bytes:
    """Send raw bytes and return all that comes back until the server closes the connection."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        for piece in pieces:
            connection.sendall(piece)
            time.sleep(pause_seconds)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    return answer


def encoded(kind: str, size: tuple[int, int] = (40, 30)) -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise(size, 60).save(buffer, kind)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_200_for_an_allowed_format(server: ServerProcess, kind: str) -> None:
    """Each format is judged, whatever it is called."""
    for content_type in ("image/jpeg", "image/png", "image/webp", "application/octet-stream"):
        response = post(server, encoded(kind), **{"Content-Type": content_type})
        assert response.status_code == 200
        schemas.Verdict.model_validate_json(response.content, strict=True)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "empty_body"),
        (RED[:-30], "corrupt_image"),
        (RED[:40] + b"\0" * 20 + RED[60:], "corrupt_image"),
        (encoded("JPEG")[:200], "corrupt_image"),
    ],
    ids=["empty", "truncated", "damaged", "half a JPEG"],
)
def test_400_for_no_image_or_a_broken_one(server: ServerProcess, content: bytes, code: str) -> None:
    """A broken picture is an error, never a verdict."""
    response = post(server, content)
    assert (response.status_code, problem(response).code) == (400, code)


def test_400_for_a_form_without_the_file_or_cut_off(server: ServerProcess) -> None:
    """A form must hold the file, whole."""
    response = httpx.post(f"{server.url}/predict", files={"image": RED}, timeout=60)
    assert (response.status_code, problem(response).code) == (400, "empty_body")
    response = post(server, b"--x\r\nContent-Dispo", **{"Content-Type": "multipart/form-data; boundary=x"})
    assert (response.status_code, problem(response).code) == (400, "malformed_body")


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF"])
def test_415_for_a_format_that_is_not_allowed_by_its_bytes(server: ServerProcess, kind: str) -> None:
    """A label of an allowed format does not help."""
    response = post(server, encoded(kind), **{"Content-Type": "image/png"})
    assert (response.status_code, problem(response).code) == (415, "unsupported_format")


@pytest.mark.parametrize(
    "content",
    [b"%PDF-1.7", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b'{"image": ""}', b"\x1f\x8b\x08" + b"\0" * 90],
)
def test_415_for_what_is_no_picture(server: ServerProcess, content: bytes) -> None:
    """Documents, JSON and compressed bodies are told apart from pictures."""
    response = post(server, content)
    assert (response.status_code, problem(response).code) == (415, "unsupported_format")


def test_413_for_a_declared_size_before_the_body(server: ServerProcess) -> None:
    """The answer comes though not one byte of the body was sent, and the connection ends."""
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n"
    answer = exchange(server, head)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"connection: close" in answer.lower()


def test_413_for_a_chunked_body_as_it_comes(server: ServerProcess) -> None:
    """Without a Content-Length the bytes are counted; the client can still read why it was refused."""

    def chunks() -> Iterator[bytes]:
        for _ in range(50):
            yield b"x" * 10_000

    response = post(server, chunks())
    assert (response.status_code, problem(response).code) == (413, "body_too_large")


def test_413_for_a_body_that_is_sent_whole(server: ServerProcess) -> None:
    """A client that sends all before it reads gets its answer, not a broken connection."""
    size_bytes = 50 * MAX_BODY_BYTES
    answer = exchange(
        server, b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size_bytes, b"x" * size_bytes
    )
    assert answer.startswith(b"HTTP/1.1 413 ")


def test_413_for_pixels_seen_in_the_header(server: ServerProcess) -> None:
    """A small file that announces a huge picture is refused, whether or not the picture is there."""
    bomb = png((0, 0, 0), width=5_000, height=5_000)
    assert len(bomb) < MAX_BODY_BYTES
    for content in (bomb, bomb[:100]):
        response = post(server, content)
        assert (response.status_code, problem(response).code) == (413, "too_many_pixels")


def test_422_for_fields_of_a_wrong_shape(server: ServerProcess) -> None:
    """A text field where a file is due, two files where one is due, no form where one is due."""
    for response in (
        httpx.post(f"{server.url}/predict", files={"file": (None, "text")}, timeout=60),
        httpx.post(f"{server.url}/predict", files=[("file", ("a", RED)), ("file", ("b", RED))], timeout=60),
        httpx.post(f"{server.url}/predict/batch", content=RED, headers={"Content-Type": "image/png"}, timeout=60),
        httpx.post(f"{server.url}/predict/batch", json={"files": []}, timeout=60),
    ):
        assert (response.status_code, problem(response).code) == (422, "wrong_fields")


def test_401_with_www_authenticate_where_keys_are_set(tmp_path: Path) -> None:
    """Every route but the probes and the metrics asks for a key."""
    (tmp_path / "keys").write_text("secret\n")
    bundle = write_tiny_bundle(tmp_path / "bundle")
    with running_server(tmp_path, bundle=bundle.path, api_keys_file=tmp_path / "keys") as server:
        server.wait_until_ready()
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"X-API-Key": "wrong"}):
            response = post(server, RED, **headers)
            assert (response.status_code, problem(response).code) == (401, "unauthorized")
            assert response.headers["WWW-Authenticate"].startswith("Bearer")
        for headers in ({"Authorization": "Bearer secret"}, {"X-API-Key": "secret"}):
            assert post(server, RED, **headers).status_code == 200
        assert httpx.get(f"{server.url}/metrics", timeout=60).status_code == 200


def test_429_with_a_retry_after_where_the_queue_is_full(tmp_path: Path) -> None:
    """While one slow picture fills a queue of one, the next request is refused at once and the first is answered."""
    bundle = write_tiny_bundle(tmp_path / "bundle")
    slow = encoded("PNG", (5000, 4000))
    with running_server(tmp_path, bundle=bundle.path, max_queue=1, max_body_bytes=len(slow)) as server:
        server.wait_until_ready()
        for _ in range(10):  # on a busy machine the first picture may be judged before the second request comes
            answers: list[httpx.Response] = []
            first = threading.Thread(target=lambda answers=answers: answers.append(post(server, slow)))
            first.start()
            while server.metric("mos_queue_depth") == 0 and first.is_alive():
                pass
            response = post(server, RED)
            first.join()
            assert [answer.status_code for answer in answers] == [200]
            if response.status_code != 200:
                break
        assert (response.status_code, problem(response).code) == (429, "overloaded")
        assert int(response.headers["Retry-After"]) >= 1
        assert post(server, RED).status_code == 200


def test_504_where_the_deadline_passed(tmp_path: Path) -> None:
    """A picture that cannot be decoded in time gets no late verdict."""
    bundle = write_tiny_bundle(tmp_path / "bundle")
    slow = encoded("PNG", (3000, 2000))
    with running_server(tmp_path, bundle=bundle.path, deadline_ms=1, max_body_bytes=len(slow)) as server:
        server.wait_until_ready()
        response = post(server, slow)
        assert (response.status_code, problem(response).code) == (504, "deadline_exceeded")


def test_408_for_a_body_that_comes_too_slowly(server: ServerProcess) -> None:
    """A client that trickles, or stops, is answered and cut off; others are served meanwhile."""
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"
    answer = exchange(server, head, *[b"x"] * 25, pause_seconds=0.1)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["code"] == "body_timeout"
    assert b"connection: close" in answer.lower()
    assert post(server, RED).status_code == 200


def test_503_where_the_bundle_is_not_calibrated(tmp_path: Path) -> None:
    """Live, not ready, and no verdict; the sentence says what to run."""
    bundle = write_tiny_bundle(tmp_path / "bundle", calibrated=False)
    with running_server(tmp_path, bundle=bundle.path) as server:
        assert "training calibrate" in problem(server.wait_until(503)).detail
        assert httpx.get(f"{server.url}/health/live", timeout=60).status_code == 200
        response = post(server, RED)
        assert (response.status_code, problem(response).code) == (503, "not_ready")
        assert int(response.headers["Retry-After"]) >= 1


def test_404_and_405(server: ServerProcess) -> None:
    """Unknown paths and wrong methods are problems too; a 405 lists what is allowed."""
    response = httpx.get(f"{server.url}/nope", timeout=60)
    assert (response.status_code, problem(response).code) == (404, "not_found")
    for method, path, allowed in (
        ("GET", "/predict", "POST"),
        ("DELETE", "/model", "GET"),
        ("POST", "/metrics", "GET"),
    ):
        response = httpx.request(method, f"{server.url}{path}", timeout=60)
        assert (response.status_code, problem(response).code) == (405, "method_not_allowed")
        assert response.headers["Allow"] == allowed


def test_500_and_a_count_for_nan_out_of_the_model(server: ServerProcess) -> None:
    """A NaN is never a verdict; it is counted, nothing of it is told, and the next picture is judged."""
    sample = 'mos_rejected_total{reason="model_output"}'
    before = server.metric(sample)
    response = post(server, png((0, 0, 0)))
    assert (response.status_code, problem(response).code) == (500, "model_output")
    assert "NaN" not in response.text
    assert server.metric(sample) == before + 1
    assert post(server, RED).json()["decision"] == "in"


@pytest.mark.parametrize("size", [b"-1", b"abc", b"1, 2", b"99999999999999999999999"])
def test_a_nonsensical_content_length_is_refused(server: ServerProcess, size: bytes) -> None:
    """Whatever stands there, the answer is a problem with a 4xx, and the server goes on."""
    answer = exchange(server, b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: " + size + b"\r\n\r\n")
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 4")
    assert schemas.Problem.model_validate_json(body, strict=True).code in ("bad_request", "body_too_large")
    assert post(server, RED).status_code == 200


def test_ten_thousand_tiny_chunks_are_one_body(server: ServerProcess) -> None:
    """How a body is cut changes nothing."""
    content = encoded("PNG", (100, 90))
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in content) + b"0\r\n\r\n"
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert len(content) > 5000
    assert exchange(server, head + chunks).startswith(b"HTTP/1.1 200 ")


def test_a_client_that_leaves_is_counted_and_harms_nobody(server: ServerProcess) -> None:
    """Half a body and gone: the service notes it and goes on."""
    sample = 'mos_requests_total{code="499",route="/predict"}'
    before = server.metric(sample)
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nhalf")
    give_up_at = time.monotonic() + 30
    while server.metric(sample) == before and time.monotonic() < give_up_at:
        time.sleep(0.02)
    assert server.metric(sample) == before + 1
    assert post(server, RED).status_code == 200


@pytest.mark.parametrize("sent", [b"nonsense\r\n\r\n", b"\x16\x03\x01\x02"])
def test_what_is_no_http_ends_the_connection(server: ServerProcess, sent: bytes) -> None:
    """It holds no connection for ever."""
    answer = exchange(server, sent)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 400 ")


def test_a_head_that_never_ends_ends_the_connection(never_ending_head: socket.socket) -> None:
    """Headers that do not come hold no connection for ever."""
    answer = never_ending_head.recv(65536)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 400 ")
