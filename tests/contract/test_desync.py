"""Where one request ends and the next begins, on which a proxy in front and the service must agree.

Each conversation hides a request in what may pass for a body or not. Where there is any doubt the service answers 400
and closes: it executes nothing that came behind, and its answers stand in the order of what was asked.
"""

import json
from collections.abc import Iterator

import pytest

from service.bundle import Bundle
from tests.contract.raw_http import LAST, converse, statuses
from tests.server_process import ServerProcess, running_server
from tests.tiny_bundle import png

pytestmark = pytest.mark.e2e

RED = png((235, 20, 20))
HIDDEN_ID = "hidden-request"
HIDDEN = f"GET /model HTTP/1.1\r\nHost: x\r\nX-Request-ID: {HIDDEN_ID}\r\n\r\n".encode()
END_OF_CHUNKS = b"0\r\n\r\n"


@pytest.fixture(scope="module")
def server(tiny_bundle: Bundle, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with running_server(tmp_path_factory.mktemp("server"), bundle=tiny_bundle.path) as server:
        server.wait_until_ready()
        yield server
    lines = [json.loads(line) for line in server.log.read_text().splitlines()]
    assert lines
    assert HIDDEN_ID not in [line.get("request_id") for line in lines], "a hidden request was executed"
    assert "Traceback" not in server.log.read_text()


def post(*fields: bytes, path: bytes = b"/predict", version: bytes = b"1.1") -> bytes:
    lines = [b"POST " + path + b" HTTP/" + version, b"Host: x", *fields]
    return b"\r\n".join(lines) + b"\r\n\r\n"


CHUNKED = b"Transfer-Encoding: chunked"
DOUBTFUL = {
    "both, length first": post(b"Content-Length: 5", CHUNKED) + END_OF_CHUNKS,
    "both, chunked first": post(CHUNKED, b"Content-Length: 5") + END_OF_CHUNKS,
    "two equal lengths": post(b"Content-Length: 1", b"Content-Length: 1") + b"x",
    "two lengths": post(b"Content-Length: 1", b"Content-Length: 99") + b"x",
    "a list of lengths": post(b"Content-Length: 1, 1") + b"x",
    "a negative length": post(b"Content-Length: -1"),
    "a signed length": post(b"Content-Length: +1") + b"x",
    "a length in hexadecimal": post(b"Content-Length: 0x1") + b"x",
    "a length with a space": post(b"Content-Length: 1 1") + b"x",
    "a length with a NUL": post(b"Content-Length: 1\0") + b"x",
    "no length in it": post(b"Content-Length: ") + b"x",
    "a length beyond 64 bits": post(b"Content-Length: 18446744073709551617") + b"x",
    "a space before the colon": post(b"Content-Length : 1") + b"x",
    "identity": post(b"Transfer-Encoding: identity"),
    "gzip, chunked": post(b"Transfer-Encoding: gzip, chunked") + END_OF_CHUNKS,
    "chunked, gzip": post(b"Transfer-Encoding: chunked, gzip") + END_OF_CHUNKS,
    "something like chunked": post(b"Transfer-Encoding: xchunked") + END_OF_CHUNKS,
    "chunked and identity": post(CHUNKED, b"Transfer-Encoding: identity") + END_OF_CHUNKS,
    "chunked twice": post(CHUNKED, CHUNKED) + END_OF_CHUNKS,
    "chunked behind a control character": post(b"Transfer-Encoding: \x0bchunked") + END_OF_CHUNKS,
    "chunked on a folded line": post(b"Transfer-Encoding:\r\n chunked") + END_OF_CHUNKS,
    "chunked in HTTP/1.0": post(CHUNKED, b"Connection: keep-alive", version=b"1.0") + END_OF_CHUNKS,
    "a chunk of no size": post(CHUNKED) + b"\r\nx\r\n" + END_OF_CHUNKS,
    "a chunk of size z": post(CHUNKED) + b"z\r\nx\r\n" + END_OF_CHUNKS,
    "a chunk of size -1": post(CHUNKED) + b"-1\r\nx\r\n" + END_OF_CHUNKS,
    "a chunk of size +1": post(CHUNKED) + b"+1\r\nx\r\n" + END_OF_CHUNKS,
    "a chunk of size 0x1": post(CHUNKED) + b"0x1\r\nx\r\n" + END_OF_CHUNKS,
    "a chunk beyond 64 bits": post(CHUNKED) + b"10000000000000001\r\nx\r\n" + END_OF_CHUNKS,
    "a space behind the size": post(CHUNKED) + b"1 \r\nx\r\n" + END_OF_CHUNKS,
    "a chunk longer than its size": post(CHUNKED) + b"1\r\nxx\r\n" + END_OF_CHUNKS,
    "chunks ended by LF": post(CHUNKED) + b"1\nx\n0\n\n",
    "an extension ended by LF": post(CHUNKED) + b"1;a\nx\r\n" + END_OF_CHUNKS,
    "a length as a trailer": post(CHUNKED) + b"1\r\nx\r\n0\r\nContent-Length: 99\r\n\r\n",
    "a tunnel": b"CONNECT /predict HTTP/1.1\r\nHost: x\r\n\r\n",
    "a tunnel with a body": b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx",
    "the preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
}


@pytest.mark.parametrize("sent", DOUBTFUL.values(), ids=DOUBTFUL.keys())
@pytest.mark.parametrize("is_one_packet", [True, False], ids=["one packet", "two packets"])
def test_doubt_is_refused_and_nothing_behind_it_is_executed(
    server: ServerProcess, sent: bytes, is_one_packet: bool
) -> None:
    """One 400, and the end; neither the hidden request nor the last one is answered."""
    [refusal] = converse(server, sent + HIDDEN) if is_one_packet else converse(server, sent, HIDDEN)
    assert (refusal.status, refusal.document["code"]) == (400, "bad_request")
    assert refusal.headers["connection"] == "close"
    assert refusal.request_id == refusal.document["request_id"] != HIDDEN_ID


AGREED = {
    "a length": (post(b"Content-Length: %d" % len(HIDDEN)) + HIDDEN, 415),
    "a length where nobody reads": (post(b"Content-Length: %d" % len(HIDDEN), path=b"/nowhere") + HIDDEN, 404),
    "a length on a GET": (
        post(b"Content-Length: %d" % len(HIDDEN)).replace(b"POST /predict", b"GET /v2") + HIDDEN,
        200,
    ),
    "a chunk": (post(CHUNKED) + b"%x\r\n%b\r\n" % (len(HIDDEN), HIDDEN) + END_OF_CHUNKS, 415),
    "a chunk with an extension": (post(CHUNKED) + b"%x;a=b\r\n%b\r\n" % (len(HIDDEN), HIDDEN) + END_OF_CHUNKS, 415),
    "an offer of HTTP/2": (
        post(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"Content-Length: %d" % len(HIDDEN)) + HIDDEN,
        415,
    ),
    "an offer of HTTP/2 with chunks": (
        post(b"Connection: Upgrade", b"Upgrade: h2c", CHUNKED)
        + b"%x\r\n%b\r\n" % (len(HIDDEN), HIDDEN)
        + END_OF_CHUNKS,
        415,
    ),
    "an offer of a WebSocket": (
        post(b"Connection: Upgrade", b"Upgrade: websocket", b"Content-Length: %d" % len(HIDDEN)) + HIDDEN,
        415,
    ),
}


@pytest.mark.parametrize(("sent", "status"), AGREED.values(), ids=AGREED.keys())
def test_what_is_a_body_beyond_doubt_is_one(server: ServerProcess, sent: bytes, status: int) -> None:
    """A request inside it is not executed, in whichever packets it comes, and the connection goes on behind it."""
    begin = sent.index(HIDDEN)
    for pieces in ([sent], [sent[:begin], sent[begin:]], [sent[: begin + 5], sent[begin + 5 :]]):
        first, last = converse(server, *pieces)
        assert (first.status, last.status, last.request_id) == (status, 200, "last")


def test_an_offer_of_another_protocol_costs_nothing(server: ServerProcess) -> None:
    """curl and Java's client send one with every request: the picture behind it is judged, and so are later ones."""
    offer = post(b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"Content-Length: %d" % len(RED)) + RED
    for pieces in ([offer * 3], [offer[:90], offer[90:], offer, offer]):
        answers = converse(server, *pieces)
        assert statuses(answers) == [200, 200, 200, 200]
        assert [answer.document["decision"] for answer in answers[:3]] == ["in"] * 3


def test_trailers_are_no_headers(server: ServerProcess) -> None:
    """What a proxy would have taken out of the head does not come in behind the body."""
    trailers = b"X-Request-ID: of-a-trailer\r\nContent-Type: multipart/form-data; boundary=b\r\n"
    body = b"%x\r\n%b\r\n0\r\n%b\r\n" % (len(RED), RED, trailers)
    judged, last = converse(server, post(CHUNKED) + body)
    assert (judged.status, last.request_id) == (200, "last")
    assert judged.request_id != "of-a-trailer"


def test_pipelined_requests_are_answered_in_their_order(server: ServerProcess) -> None:
    """A slow one first, and a HEAD among them."""
    slow = png((235, 20, 20), width=2000, height=1500)
    requests = [
        b"POST /predict HTTP/1.1\r\nHost: x\r\nX-Request-ID: 0\r\nContent-Length: %d\r\n\r\n%b" % (len(slow), slow)
    ]
    requests += [b"GET /v2 HTTP/1.1\r\nHost: x\r\nX-Request-ID: %d\r\n\r\n" % number for number in range(1, 50)]
    answers = converse(server, b"".join(requests))
    assert [answer.request_id for answer in answers] == [*map(str, range(50)), "last"]
    assert set(statuses(answers)) == {200}


@pytest.mark.parametrize(
    "broken", [b"nonsense\r\n\r\n", post(b"Content-Length: x"), post(CHUNKED) + b"z\r\n", b"GET /v2 HTTP/1.1\r\n\r\n"]
)
def test_a_broken_request_is_refused_in_its_turn(server: ServerProcess, broken: bytes) -> None:
    """What was asked before it is answered before it, as if nothing had come behind."""
    slow = png((235, 20, 20), width=2000, height=1500)
    sound = b"POST /predict HTTP/1.1\r\nHost: x\r\nX-Request-ID: sound\r\nContent-Length: %d\r\n\r\n%b" % (
        len(slow),
        slow,
    )
    for pieces in ([sound + broken + HIDDEN], [sound, broken + HIDDEN], [sound + sound, broken, HIDDEN]):
        *judged, refusal = converse(server, *pieces)
        assert {(answer.status, answer.request_id) for answer in judged} == {(200, "sound")}
        assert len(judged) == b"".join(pieces).count(b"sound")
        assert (refusal.status, refusal.headers["connection"]) == (400, "close")


def test_a_body_that_breaks_behind_its_answer_gets_no_second_one(server: ServerProcess) -> None:
    """It would be taken for the answer to the next request."""
    assert statuses(converse(server, post(CHUNKED, path=b"/nowhere"), b"z\r\n" + HIDDEN)) in ([404], [400])


def test_nothing_is_executed_behind_the_end(server: ServerProcess) -> None:
    """Who says that it closes the connection has said its last; what it sends later may reset it."""
    for closing in (LAST, b"GET /v2 HTTP/1.0\r\nX-Request-ID: last\r\n\r\n"):
        assert [answer.request_id for answer in converse(server, closing + HIDDEN, last=b"")] == ["last"]
        assert len(converse(server, closing, HIDDEN, last=b"")) <= 1


def test_an_error_keeps_the_connection_where_its_end_is_known(server: ServerProcess) -> None:
    """404, 405, 415 and 422 do not cost a client its connection."""
    asked = [
        b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n",
        b"DELETE /model HTTP/1.1\r\nHost: x\r\n\r\n",
        post(b"Content-Length: 3") + b"abc",
        post(b"Content-Length: 3", path=b"/predict/batch") + b"abc",
    ]
    assert statuses(converse(server, b"".join(asked))) == [404, 405, 415, 422, 200]


def test_a_body_that_was_refused_unread_is_not_read_as_a_request(server: ServerProcess) -> None:
    """Too large by its length, or too large as it comes: the connection ends with the answer."""
    large = HIDDEN * (11 * 2**20 // len(HIDDEN))
    for sent in (
        post(b"Content-Length: %d" % len(large)) + large,
        post(CHUNKED) + b"%x\r\n%b\r\n" % (len(large), large) + END_OF_CHUNKS,
    ):
        [refusal] = converse(server, sent)
        assert (refusal.status, refusal.headers["connection"]) == (413, "close")


def test_100_continue_comes_before_the_body_or_not_at_all(server: ServerProcess) -> None:
    """Nobody is told to go on with a body that is refused by its length."""
    expecting = b"Expect: 100-continue"
    answers = converse(server, post(expecting, b"Content-Length: %d" % len(RED)), RED)
    assert statuses(answers) == [100, 200, 200]
    answers = converse(server, post(expecting, b"Content-Length: 99999999999"), last=b"")
    assert statuses(answers) == [413]
