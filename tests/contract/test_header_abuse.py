"""Heads that are no heads, that lie, that never end or that are not for us: refused in bounds, and repeated nowhere."""

import contextlib
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from service.bundle import Bundle
from service.http.protocol import MAX_HEAD_BYTES
from tests.contract.raw_http import PATIENCE_SECONDS, Answer, converse, statuses
from tests.server_process import ServerProcess, running_server

pytestmark = pytest.mark.e2e

MEGABYTE = 2**20
# What no answer and no line of the log may repeat.
MARK = "do-not-repeat"


@pytest.fixture(scope="module")
def server(tiny_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with running_server(tmp_path_factory.mktemp("server"), bundle=tiny_bundle.path) as server:
        server.wait_until_ready()
        yield server
    log = server.log.read_text()
    assert log
    assert MARK not in log
    assert "Traceback" not in log


def get(*fields: bytes, line: bytes = b"GET /v2 HTTP/1.1") -> bytes:
    return b"\r\n".join([line, b"Host: x", *fields]) + b"\r\n\r\n"


MALFORMED = {
    "lines ended by LF": b"GET /v2 HTTP/1.1\nHost: x\nX-Request-ID: do-not-repeat\n\n",
    "lines ended by CR": b"GET /v2 HTTP/1.1\rHost: x\r\r",
    "a head ended by LF LF": get(b"A: b\n\n"),
    "a folded line": get(b"A: b\r\n do-not-repeat"),
    "a folded first line": b"GET /v2 HTTP/1.1\r\n Host: x\r\n\r\n",
    "NUL in a value": get(b"X-Request-ID: do-not-repeat\0b"),
    "CR in a value": get(b"X-Request-ID: do-not-repeat\rSet-Cookie: c"),
    "a control character in a value": get(b"X-Request-ID: do-not-repeat\x0b"),
    "a space in a name": get(b"do-not-repeat A: b"),
    "NUL in a name": get(b"do-not-repeat\0: b"),
    "no colon": get(b"do-not-repeat"),
    "no name": get(b": do-not-repeat"),
    "no host": b"GET /v2 HTTP/1.1\r\n\r\n",
    "two hosts": get(b"Host: do-not-repeat"),
    "an unknown method": get(line=b"BREW /do-not-repeat HTTP/1.1"),
    "a method in lower case": get(line=b"get /v2 HTTP/1.1"),
    "HTTP/2.0": get(line=b"GET /v2 HTTP/2.0"),
    "HTTP/9.9": get(line=b"GET /v2 HTTP/9.9"),
    "HTTP/0.9": b"GET /v2\r\n\r\n",
    "tabs in the request line": get(line=b"GET\t/v2\tHTTP/1.1"),
    "NUL in the path": get(line=b"GET /v2\0 HTTP/1.1"),
    "a path that is not ASCII": get(line="GET /é HTTP/1.1".encode()),
    "no path": get(line=b"GET do-not-repeat:80 HTTP/1.1"),
    "a port beyond all ports": get(line=b"GET http://do-not-repeat:99999/v2 HTTP/1.1"),
    "TLS": b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + bytes(100),
}


@pytest.mark.parametrize("sent", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_head_is_refused_and_not_repeated(server: ServerProcess, sent: bytes) -> None:
    """One 400 with an id of ours, and the end."""
    [refusal] = converse(server, sent)
    assert (refusal.status, refusal.document["code"]) == (400, "bad_request")
    assert MARK not in str(refusal)
    assert re.fullmatch("[0-9a-f]{32}", refusal.request_id)


HARMLESS = {
    "blank lines before it": (b"\r\n\r\n" + get(), 200),
    "the form of proxies": (get(line=b"GET http://elsewhere:81/v2 HTTP/1.1"), 200),
    "a value that is not ASCII": (get(b"A: \xff\xfe"), 200),
    "an escape in the path": (get(line=b"GET /%2e%2e/do-not-repeat%00%0d%0aA:b HTTP/1.1"), 404),
    "a broken escape": (get(line=b"GET /do-not-repeat%zz%ff HTTP/1.1"), 404),
    "everything": (get(line=b"OPTIONS * HTTP/1.1"), 404),
    "OPTIONS": (get(line=b"OPTIONS /v2 HTTP/1.1"), 405),
    "TRACE": (get(b"Cookie: do-not-repeat", line=b"TRACE /v2 HTTP/1.1"), 405),
    "an expectation that nobody knows": (get(b"Expect: do-not-repeat"), 200),
}


@pytest.mark.parametrize(("sent", "status"), HARMLESS.values(), ids=HARMLESS.keys())
def test_what_is_odd_but_sound_is_answered(server: ServerProcess, sent: bytes, status: int) -> None:
    """Its end is known, so the connection goes on; nothing of it is in the answer."""
    answer, last = converse(server, sent)
    assert (answer.status, last.request_id) == (status, "last")
    assert MARK not in str(answer)


def test_head_has_no_body(server: ServerProcess) -> None:
    """Also where it is refused: what follows on the connection is the next answer."""
    for path in (b"/v2", b"/", b"/nowhere", b"/predict"):
        answers = converse(server, get(line=b"HEAD " + path + b" HTTP/1.1"), heads=1)
        assert [answer.request_id == "last" for answer in answers] == [False, True]
        assert answers[0].status in (404, 405)


@pytest.mark.parametrize(
    "sent_id", [b"a b", b"a%0d%0ab", b'"', b"<script>", b"\xc3\xa9", b"x" * 129, b"${jndi:x}", b""]
)
def test_an_id_that_is_not_safe_is_replaced(server: ServerProcess, sent_id: bytes) -> None:
    """What is echoed and logged cannot be more than an id."""
    answer, _ = converse(server, get(b"X-Request-ID: " + sent_id))
    assert answer.status == 200
    assert re.fullmatch("[0-9a-f]{32}", answer.request_id)


def test_a_head_within_the_limit_is_served_and_one_beyond_it_refused(server: ServerProcess) -> None:
    """However it is made up, and in however many packets it comes."""
    few, many = [b"A: " + b"b" * 1000] * 60, [b"A: b"] * 10_000
    for fields in (few, many):
        assert statuses(converse(server, get(*fields))) == [200, 200]
    for fields in (few * 2, many * 8, [b"A: " + b"b" * MAX_HEAD_BYTES]):
        head = get(*fields)
        for pieces in ([head], [head[: len(head) // 2], head[len(head) // 2 :]]):
            [refusal] = converse(server, *pieces)
            assert (refusal.status, refusal.document["code"]) == (431, "head_too_large")
    [refusal] = converse(server, get(line=b"GET /" + b"x" * MAX_HEAD_BYTES + b" HTTP/1.1"))
    assert refusal.status == 431


ENDLESS = {
    "request line": b"GET /",
    "name": b"GET /v2 HTTP/1.1\r\nHost: x\r\nA",
    "value": b"GET /v2 HTTP/1.1\r\nHost: x\r\nA: ",
    "trailer": b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nA: ",
    "extension": b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1;a=",
}


@pytest.mark.skipif(not Path("/proc/self/statm").is_file(), reason="reads the size of a process in /proc")
@pytest.mark.parametrize("begin", ENDLESS.values(), ids=ENDLESS.keys())
def test_what_never_ends_is_cut_off_early(server: ServerProcess, begin: bytes) -> None:
    """The client may send on for a moment; nothing of it is kept, and others are served meanwhile."""
    before = resident_bytes(server)
    flood = b"a" * MEGABYTE
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_SECONDS) as client:
        client.sendall(begin)
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):
            for _ in range(50):
                client.sendall(flood)
            assert httpx.get(f"{server.url}/v2", timeout=PATIENCE_SECONDS).status_code == 200
            assert client.recv(65536).startswith(b"HTTP/1.1 431 ")
    assert resident_bytes(server) - before < 20 * MEGABYTE


def resident_bytes(server: ServerProcess) -> int:
    return 4096 * int(Path(f"/proc/{server.process.pid}/statm").read_text().split()[1])


def test_a_slow_crowd_of_heads_keeps_nobody_out(server: ServerProcess) -> None:
    """Two hundred connections with half a head each, and one client with a whole one."""
    with contextlib.ExitStack() as stack:
        for _ in range(200):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=60))
            client.sendall(b"GET /v2 HTTP/1.1\r\nHost: ")
        answers: list[Answer] = converse(server, get())
        assert statuses(answers) == [200, 200]
