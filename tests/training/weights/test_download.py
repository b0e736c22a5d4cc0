"""Downloads from a server on this machine: whole, resumed, checked, or nothing."""

import base64
import hashlib
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from training.errors import CheckpointError
from training.weights import download as module
from training.weights import reading as weights
from training.weights.download import download
from training.weights.reading import find_weights

CONTENT = bytes(range(256)) * 41


@dataclass
class Server:
    """What the server does, and what it was asked."""

    url: str = ""
    content: bytes = CONTENT
    hashes: list[str] = field(default_factory=list)
    resumes: bool = True
    status: int = 200
    breaks_after: int | None = None
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.hashes = ["crc32c=AAAAAA==", f"md5={base64.b64encode(hashlib.md5(CONTENT).digest()).decode()}"]


@pytest.fixture
def server() -> Iterator[Server]:
    """An HTTP server with one file, whatever is asked for."""
    says = Server()

    class Handler(BaseHTTPRequestHandler):
        def head(self) -> bytes:
            asked = self.headers["Range"]
            says.asked.append((self.command, self.path, asked))
            start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and says.resumes else 0
            body = says.content[start:]
            self.send_response(206 if start and says.status == 200 else says.status)
            for value in says.hashes:
                self.send_header("x-goog-hash", value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            return body

        def do_HEAD(self) -> None:
            self.head()

        def do_GET(self) -> None:
            self.wfile.write(self.head()[: says.breaks_after])

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        says.url = f"http://127.0.0.1:{http.server_port}/BiT.npz"
        thread = Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield says
        http.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several chunks make the small file."""
    monkeypatch.setattr(module, "CHUNK_BYTES", 1000)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where the file shall be, in a folder that is not there yet."""
    return tmp_path / "cache" / "BiT.npz"


def left(file: Path) -> list[str]:
    """Names of what a download left behind."""
    return sorted(path.name for path in file.parent.iterdir()) if file.parent.exists() else []


def test_a_file_arrives_whole(server: Server, file: Path) -> None:
    """Content, name and nothing beside it."""
    download(server.url, file)
    assert file.read_bytes() == CONTENT
    assert left(file) == ["BiT.npz"]


def test_checksums_in_one_header_are_read(server: Server, file: Path) -> None:
    """The server may join its checksums with a comma."""
    server.hashes = [", ".join(server.hashes)]
    download(server.url, file)
    assert file.read_bytes() == CONTENT


def test_other_content_than_announced_is_refused(server: Server, file: Path) -> None:
    """Same length, one byte changed: an error that says what to do, and nothing left."""
    server.content = CONTENT[:-1] + b"!"
    with pytest.raises(CheckpointError, match=r"checksum.*BiT\.npz"):
        download(server.url, file)
    assert left(file) == []


@pytest.mark.parametrize("hashes", [[], ["crc32c=AAAAAA=="]])
def test_without_a_checksum_nothing_is_fetched(server: Server, file: Path, hashes: list[str]) -> None:
    """What cannot be checked is not trusted."""
    server.hashes = hashes
    with pytest.raises(CheckpointError, match=r"no checksum.*BiT\.npz"):
        download(server.url, file)
    assert left(file) == []
    assert [method for method, *_ in server.asked] == ["HEAD"]


def test_a_download_that_broke_goes_on_from_there(server: Server, file: Path) -> None:
    """The cut is one sentence; the next try asks for the rest alone."""
    server.breaks_after = 4321
    with pytest.raises(CheckpointError, match="broke off; run the same command again"):
        download(server.url, file)
    assert left(file) == ["BiT.npz.partial"]
    server.breaks_after = None
    download(server.url, file)
    assert server.asked[-1] == ("GET", "/BiT.npz", "bytes=4321-")
    assert file.read_bytes() == CONTENT
    assert left(file) == ["BiT.npz"]


def test_a_server_that_does_not_resume_is_asked_from_the_start(server: Server, file: Path) -> None:
    """It answers with the whole file, which replaces the part."""
    server.resumes = False
    file.parent.mkdir()
    Path(f"{file}.partial").write_bytes(b"other bytes")
    download(server.url, file)
    assert file.read_bytes() == CONTENT


def test_a_part_that_is_whole_is_only_checked(server: Server, file: Path) -> None:
    """A try that stopped before the last step needs no byte more."""
    file.parent.mkdir()
    Path(f"{file}.partial").write_bytes(CONTENT)
    download(server.url, file)
    assert file.read_bytes() == CONTENT
    assert [method for method, *_ in server.asked] == ["HEAD"]


def test_a_part_of_another_file_is_not_kept(server: Server, file: Path) -> None:
    """A shorter part fails the check and goes; a longer one is replaced."""
    file.parent.mkdir()
    Path(f"{file}.partial").write_bytes(b"other bytes")
    with pytest.raises(CheckpointError, match="checksum"):
        download(server.url, file)
    assert left(file) == []
    Path(f"{file}.partial").write_bytes(CONTENT + b"more")
    download(server.url, file)
    assert file.read_bytes() == CONTENT


@pytest.mark.parametrize("status", [403, 404, 503])
def test_a_refusal_is_one_sentence(server: Server, file: Path, status: int) -> None:
    """It names what was asked for, the status and the way round."""
    server.status = status
    with pytest.raises(CheckpointError, match=rf"BiT\.npz \({status}\); fetch BiT\.npz by other means"):
        download(server.url, file)
    assert left(file) == []


def test_a_server_that_cannot_be_reached_is_one_sentence(file: Path) -> None:
    """Nobody listens at a port that was just given back."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    with pytest.raises(CheckpointError, match="cannot be reached; check the connection"):
        download(f"http://127.0.0.1:{port}/BiT.npz", file)
    assert left(file) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full on this system")
def test_a_full_disk_is_one_sentence(server: Server, file: Path) -> None:
    """The system's full device takes no byte; nothing is left behind."""
    file.parent.mkdir()
    Path(f"{file}.partial").symlink_to("/dev/full")
    with pytest.raises(CheckpointError, match=r"No space left on device.*free space"):
        download(server.url, file)
    assert left(file) == []


def test_a_published_name_is_downloaded_once(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes from the published place into the user's cache, where the next call finds it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(weights, "PUBLISHED_AT", server.url.rpartition("/")[0])
    file = tmp_path / "mos-guard" / "BiT-S-R101x1.npz"
    assert [find_weights("BiT-S-R101x1"), find_weights("BiT-S-R101x1")] == [file, file]
    assert file.read_bytes() == CONTENT
    assert server.asked == [("HEAD", "/BiT-S-R101x1.npz", None), ("GET", "/BiT-S-R101x1.npz", None)]
