"""API keys: read from a file, compared as hashes in constant time."""

import hashlib
import hmac
from collections.abc import Iterable
from pathlib import Path

from service.errors import Unauthorized


def read_api_keys(path: Path) -> frozenset[bytes]:
    """Return the SHA-256 digests of the keys in *path*, one key a line; blank lines do not count.

    Raises ValueError where there is no key: a file that was set must never leave the service open.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError("the file cannot be read; write one key a line into it, as UTF-8") from error
    keys = frozenset(_digest(line.strip().encode()) for line in lines if line.strip())
    if not keys:
        raise ValueError("the file holds no key; write one key a line into it")
    return keys


def check_api_key(headers: Iterable[tuple[bytes, bytes]], keys: frozenset[bytes]) -> None:
    """Raise Unauthorized unless *headers* carry one of *keys*: `Authorization: Bearer KEY` or `X-API-Key: KEY`."""
    for name, value in headers:
        scheme, _, credentials = value.partition(b" ")
        if name == b"x-api-key" and _is_known(value.strip(), keys):
            return
        if name == b"authorization" and scheme.lower() == b"bearer" and _is_known(credentials.strip(), keys):
            return
    raise Unauthorized("Send one of the service's keys as `Authorization: Bearer KEY` or as `X-API-Key: KEY`.")


def _is_known(key: bytes, keys: frozenset[bytes]) -> bool:
    digest = _digest(key)
    # Every key is compared, in the same time each, so that the time taken says nothing about any of them.
    return sum(hmac.compare_digest(digest, known) for known in keys) > 0


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
