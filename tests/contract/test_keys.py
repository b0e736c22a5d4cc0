"""Keys against a running server: exchanged while it serves, and never told anywhere."""

import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.server_process import ServerProcess, running_server
from tests.tiny_bundle import png, write_tiny_bundle

pytestmark = pytest.mark.e2e

RED = png((235, 20, 20))
FIRST, SECOND, LABELS, WRONG = "first-api-key-0001", "second-api-key-0002", "label-key-0003", "guessed-key-0004"


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A folder as Kubernetes mounts a Secret: links through one link that is turned when the Secret changes."""
    folder = tmp_path / "secret"
    folder.mkdir()
    write_version(folder, api=FIRST, labels=LABELS)
    for name in ("api", "labels"):
        (folder / name).symlink_to(f"..data/{name}")
    return folder


def write_version(folder: Path, **files: str) -> None:
    """Put other contents in place by turning the one link."""
    version = folder / f"..version-{len(list(folder.iterdir()))}"
    version.mkdir()
    for name, key in files.items():
        (version / name).write_text(f"{key}\n")
    turned = folder / "..turned"
    turned.symlink_to(version.name)
    turned.replace(folder / "..data")


@pytest.fixture
def server(tmp_path: Path, secret: Path) -> Iterator[ServerProcess]:
    bundle = write_tiny_bundle(tmp_path / "bundle", nan_on_black=True)
    settings = {"api_keys_file": secret / "api", "feedback_keys_file": secret / "labels", "feedback_log": "labels"}
    with running_server(tmp_path, bundle=bundle.path, log_level="debug", **settings) as server:
        server.wait_until_ready()
        yield server


def status(server: ServerProcess, key: str, path: str = "/predict", content: bytes = RED) -> int:
    return httpx.post(f"{server.url}{path}", content=content, headers={"X-API-Key": key}, timeout=60).status_code


def label(server: ServerProcess, key: str) -> int:
    return status(server, key, "/feedback", b'{"request_id": "a", "label": "in"}')


def until(condition: Callable[[], bool]) -> None:
    give_up_at = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < give_up_at
        time.sleep(0.05)


def test_a_turned_link_exchanges_the_keys_while_it_serves(server: ServerProcess, secret: Path) -> None:
    """The new key opens and the old one is refused, for pictures and for labels, without a restart."""
    assert (status(server, FIRST), status(server, SECOND)) == (200, 401)
    assert (label(server, LABELS), label(server, SECOND)) == (200, 401)
    write_version(secret, api=SECOND, labels=WRONG)
    until(lambda: status(server, FIRST) == 401)
    until(lambda: label(server, LABELS) == 401)
    assert (status(server, SECOND), label(server, WRONG)) == (200, 200)
    assert server.log.read_text().count("1 keys are new, 1 no longer count") == 2


def test_a_file_that_goes_missing_never_opens_the_service(server: ServerProcess, secret: Path) -> None:
    """Who had a key goes on, who had none still has none, and the log says it once."""
    (secret / "api").unlink()
    until(lambda: "former keys stay in force" in server.log.read_text())
    assert (status(server, FIRST), status(server, SECOND), status(server, "")) == (200, 401, 401)
    time.sleep(2.5)  # two looks more
    assert server.log.read_text().count("former keys stay in force") == 1


def test_no_key_is_told_anywhere(server: ServerProcess, secret: Path) -> None:
    """Not in a log at its loudest, not in a series, not in a problem: neither known keys nor guessed ones."""
    answers = []
    for key in (FIRST, LABELS, WRONG):
        for headers in ({"X-API-Key": key}, {"Authorization": f"Bearer {key}"}, {"Authorization": f"Basic {key}"}):
            with httpx.Client(base_url=server.url, headers=headers, timeout=60) as client:
                answers += [
                    client.post("/predict", content=RED),
                    client.post("/predict", content=png((0, 0, 0))),  # NaN out of the model: a traceback in the log
                    client.post("/predict", content=b"no image"),
                    client.post("/feedback", content=b"{}"),
                    client.get(f"/nope/{key}?key={key}"),
                    client.get("/model", params={"key": key}),
                ]
        with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
            connection.sendall(f"GET /model HTTP/1.1\r\nX-API-Key {key}\r\n\r\n".encode())  # no colon, so no HTTP
            answers.append(httpx.Response(400, content=connection.recv(65536)))
    assert {answer.status_code for answer in answers} >= {200, 400, 401, 404, 415, 422, 500}
    write_version(secret, api=SECOND, labels=LABELS)
    until(lambda: status(server, SECOND) == 200)
    told = [server.log.read_text(), httpx.get(f"{server.url}/metrics", timeout=60).text]
    told += [f"{answer.headers} {answer.text}" for answer in answers]
    assert "Model failure" in told[0]
    assert not [text for text in told for key in (FIRST, SECOND, LABELS, WRONG) if key in text]
