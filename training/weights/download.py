"""Fetch a file over HTTP: whole or absent, resumed after a break, checked against the server's own checksum."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from training.errors import CheckpointError
from training.progress import track

CHUNK_BYTES = 1 << 20
TIMEOUT_SECONDS = 30.0


def download(url: str, file: Path) -> None:
    """Fetch `url` into `file`, going on where an earlier try broke off.

    The server must announce length and MD5, as Google Cloud Storage does in `x-goog-hash`.
    Raises CheckpointError; only a connection that broke leaves something behind, the part to go on from.
    """
    length, md5 = _announced(url)
    partial = file.with_name(file.name + ".partial")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        _fetch(url, partial, length)
        with partial.open("rb") as fetched:
            digest = hashlib.file_digest(fetched, lambda: hashlib.md5(usedforsecurity=False)).digest()
        if digest != md5:
            partial.unlink()
            raise CheckpointError(f"What came of {url} differs from the server's checksum; {_by_hand(file)}.")
        partial.replace(file)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise CheckpointError(
            f"{file} cannot be written ({error.strerror}); free space, or point XDG_CACHE_HOME to another disk."
        ) from error


def _announced(url: str) -> tuple[int, bytes]:
    """Length in bytes and MD5 of the whole file, as the server gives them."""
    with _answer(Request(url, method="HEAD")) as answer:
        length = answer.headers["Content-Length"]
        hashes = ",".join(answer.headers.get_all("x-goog-hash", []))
    md5 = [value for kind, _, value in (part.strip().partition("=") for part in hashes.split(",")) if kind == "md5"]
    if length is None or not md5:
        raise CheckpointError(f"The server gives no checksum for {url}; {_by_hand(Path(url))}.")
    return int(length), base64.b64decode(md5[0])


def _fetch(url: str, partial: Path, length: int) -> None:
    """Append to `partial` what is missing of `length` bytes, or all of it where the server does not resume."""
    start = partial.stat().st_size if partial.exists() else 0
    if start == length:
        return
    if start > length:  # the part of another file
        start = 0
    with _answer(Request(url, headers={"Range": f"bytes={start}-"} if start else {})) as answer:
        resumed = answer.status == 206
        missing = length - start if resumed else length
        chunks = track(_chunks(answer, url), -(-missing // CHUNK_BYTES), f"{Path(url).name}, MiB")
        with partial.open("ab" if resumed else "wb") as out:
            for chunk in chunks:
                out.write(chunk)
            if out.tell() < length:
                raise _broken_off(url)


def _answer(request: Request) -> HTTPResponse:
    url = request.full_url
    try:
        answer: HTTPResponse = urlopen(request, timeout=TIMEOUT_SECONDS)
    except HTTPError as error:
        error.close()
        raise CheckpointError(f"The server refuses {url} ({error.code}); {_by_hand(Path(url))}.") from error
    except (OSError, HTTPException) as error:
        raise CheckpointError(f"{url} cannot be reached; check the connection, or {_by_hand(Path(url))}.") from error
    return answer


def _chunks(answer: HTTPResponse, url: str) -> Iterator[bytes]:
    try:
        while chunk := answer.read(CHUNK_BYTES):
            yield chunk
    except (OSError, HTTPException) as error:
        raise _broken_off(url) from error


def _broken_off(url: str) -> CheckpointError:
    return CheckpointError(f"The download of {url} broke off; run the same command again to go on from there.")


def _by_hand(file: Path) -> str:
    return f"fetch {file.name} by other means and give its path"
