"""POST /feedback and the verdict log against a running server: statuses, restarts, and disks that fail."""

import concurrent.futures
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.bundle import Bundle
from service.http import schemas
from tests.contract.test_lifecycle import run_to_its_end
from tests.contract.test_status_table import exchange, problem
from tests.full_disk import full_disk
from tests.server_process import ServerProcess, running_server
from tests.tiny_bundle import png

pytestmark = pytest.mark.e2e

RED = png((235, 20, 20))
KEY = "label-key"
LABEL = {"request_id": "a", "label": "out"}


@pytest.fixture(scope="module")
def server(tiny_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("server")
    (folder / "keys").write_text(f"{KEY}\n")
    logs = {"feedback_keys_file": "keys", "feedback_log": "labels", "verdict_log": "verdicts"}
    with running_server(folder, bundle=tiny_bundle.path, body_timeout_ms=2000, **logs) as server:
        server.wait_until_ready()
        yield server


def send(server: ServerProcess, content: Any = None, *, key: str = KEY) -> httpx.Response:
    content = json.dumps(LABEL) if content is None else content
    return httpx.post(f"{server.url}/feedback", content=content, headers={"X-API-Key": key}, timeout=60)


def predict(server: ServerProcess, request_id: str, client: httpx.Client | None = None) -> httpx.Response:
    post = httpx.post if client is None else client.post
    return post(f"{server.url}/predict", content=RED, headers={"X-Request-ID": request_id}, timeout=60)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def until(condition: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < give_up_at
        time.sleep(0.02)


def test_200_and_the_label_is_in_the_file(server: ServerProcess) -> None:
    """The line is there when the answer is."""
    predict(server, "mine")
    response = send(server, json.dumps({"request_id": "mine", "label": "red"}))
    assert response.status_code == 200
    assert schemas.Labelled.model_validate_json(response.content, strict=True).decision == "in"
    assert lines(server.log.parent / "labels")[-1]["request_id"] == "mine"


def test_400_for_what_is_no_json(server: ServerProcess) -> None:
    """A form or half an object is told so."""
    for content in (b"", b"request_id=a&label=in", b'{"request_id": "a"'):
        assert (send(server, content).status_code, problem(send(server, content)).code) == (400, "malformed_body")


def test_401_without_one_of_its_keys(server: ServerProcess) -> None:
    """The answer says how to send one, and it is no refused image."""
    response = send(server, key="wrong")
    assert (response.status_code, problem(response).code) == (401, "unauthorized")
    assert response.headers["WWW-Authenticate"].startswith("Bearer")
    assert server.metric('mos_rejected_total{reason="unauthorized"}') == 0


def test_404_where_it_is_off_and_405_for_another_method(
    tiny_bundle: Bundle, server: ServerProcess, tmp_path: Path
) -> None:
    """Without a keys file it is a path like any unknown one."""
    assert httpx.get(f"{server.url}/feedback", timeout=60).status_code == 405
    with running_server(tmp_path, bundle=tiny_bundle.path) as closed:
        closed.wait_until_ready()
        assert problem(send(closed)).code == "not_found"


def test_408_and_413_for_a_slow_or_large_body(server: ServerProcess) -> None:
    """16 KiB are enough for any label, declared or counted as they come."""
    head = f"POST /feedback HTTP/1.1\r\nHost: x\r\nX-API-Key: {KEY}\r\n".encode()
    assert exchange(server, head + b"Content-Length: 100\r\n\r\n").startswith(b"HTTP/1.1 408 ")
    for content in (b" " * 16_385, iter([b" " * 10_000] * 2)):
        response = send(server, content)
        assert (response.status_code, problem(response).code) == (413, "body_too_large")
    assert send(server, json.dumps(LABEL).encode() + b" " * 16_000).status_code == 200


def test_422_for_wrong_fields(server: ServerProcess) -> None:
    """An unknown class is told where the known ones are."""
    response = send(server, json.dumps({"request_id": "a", "label": "purple"}))
    assert (response.status_code, problem(response).code) == (422, "wrong_fields")
    assert "/model" in problem(response).detail


def test_503_on_a_full_disk_that_costs_no_verdict(server: ServerProcess) -> None:
    """Labels are refused, lines of all logs are dropped and counted, pictures are judged; with room all go on."""
    folder = server.log.parent
    dropped = [f'mos_log_lines_dropped_total{{log="{log}"}}' for log in ("feedback", "service", "verdicts")]
    assert [server.metric(sample) for sample in dropped] == [0, 0, 0]
    with full_disk(0, server.process.pid):
        response = send(server)
        assert (response.status_code, problem(response).code) == (503, "not_written")
        assert int(response.headers["Retry-After"]) >= 1
        assert predict(server, "lost").status_code == 200
        until(lambda: all(server.metric(sample) > 0 for sample in dropped))
    assert send(server).status_code == 200
    assert predict(server, "kept").status_code == 200
    until(lambda: "kept" in (folder / "verdicts").read_text())
    until(lambda: '"kept"' in server.log.read_text())
    assert "lost" not in [line["request_id"] for line in lines(folder / "verdicts")]


def test_no_verdict_goes_missing_under_load(tiny_bundle: Bundle, tmp_path: Path) -> None:
    """With a healthy disk and rotation 1,000 requests are 1,000 lines, and a restart goes on in the same file."""
    settings = {"bundle": tiny_bundle.path, "log_level": "warning", "verdict_log": "verdicts", "max_queue": 1000}
    settings |= {"verdict_log_max_bytes": 2**16, "verdict_log_files": 100}
    ids = [f"request-{number}" for number in range(1000)]
    for half in (ids[:500], ids[500:]):
        with running_server(tmp_path, **settings) as server, httpx.Client() as client:
            server.wait_until_ready()
            with concurrent.futures.ThreadPoolExecutor(8) as pool:
                answers = list(pool.map(lambda request_id: predict(server, request_id, client), half))
            assert {answer.status_code for answer in answers} == {200}
    paths = [path for path in tmp_path.glob("verdicts*") if path.suffix != ".lock"]
    assert sorted(line["request_id"] for path in paths for line in lines(path)) == sorted(ids)
    assert len(paths) > 3
    assert max(path.stat().st_size for path in paths) <= 2**16


def test_a_killed_process_lets_the_next_one_write(tiny_bundle: Bundle, tmp_path: Path) -> None:
    """Its lock goes with it, and a line that it left torn is ended."""
    (tmp_path / "keys").write_text(f"{KEY}\n")
    settings = {"bundle": tiny_bundle.path, "feedback_keys_file": "keys", "feedback_log": "labels"}
    with running_server(tmp_path, **settings) as server:
        server.wait_until_ready()
        assert send(server).status_code == 200
        server.process.kill()
        server.process.wait()
    os.truncate(tmp_path / "labels", (tmp_path / "labels").stat().st_size - 9)
    with running_server(tmp_path, **settings) as server:
        server.wait_until_ready()
        assert send(server).status_code == 200
    torn, whole = (tmp_path / "labels").read_text().splitlines()
    assert not torn.endswith("}")
    assert json.loads(whole)["label"] == "out"


@pytest.mark.parametrize("name", ["verdict_log", "feedback_log"])
def test_a_log_that_another_process_writes_is_one_sentence_and_status_2(
    server: ServerProcess, tiny_bundle: Bundle, tmp_path: Path, name: str
) -> None:
    """Two replicas with one path would rotate under each other: the second does not start."""
    path = server.log.parent / {"verdict_log": "verdicts", "feedback_log": "labels"}[name]
    (tmp_path / "keys").write_text("k\n")
    ended = run_to_its_end(
        tmp_path, bundle=tiny_bundle.path, feedback_keys_file="keys", **{"feedback_log": "l", name: path}
    )
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"MOS_{name.upper()}={path}: it is being written already")
    assert len(ended.stderr.splitlines()) == 1


def test_a_log_that_cannot_be_written_is_one_sentence_and_status_2(tiny_bundle: Bundle, tmp_path: Path) -> None:
    """A wrong path is a wrong setting."""
    ended = run_to_its_end(tmp_path, bundle=tiny_bundle.path, verdict_log="missing/verdicts")
    assert ended.returncode == 2
    assert ended.stderr.startswith("MOS_VERDICT_LOG=missing/verdicts: it cannot be written (No such file")
    assert len(ended.stderr.splitlines()) == 1


def test_nothing_of_the_caller_is_in_a_file(server: ServerProcess) -> None:
    """No key and no file name, neither in the lines nor in the service's log, and no address in the lines."""
    folder = server.log.parent
    headers = {"X-API-Key": KEY, "X-Request-ID": "private"}
    response = httpx.post(f"{server.url}/predict", files={"file": ("holiday.png", RED)}, headers=headers, timeout=60)
    assert response.status_code == 200
    assert send(server, json.dumps({"request_id": "private", "label": "in"})).status_code == 200
    until(lambda: all('"private"' in path.read_text() for path in (folder / "verdicts", folder / "labels", server.log)))
    assert not any(word in server.log.read_text() for word in (KEY, "holiday"))
    for path in (folder / "verdicts", folder / "labels"):
        assert not any(word in path.read_text() for word in (KEY, "holiday", "127.0.0.1"))
