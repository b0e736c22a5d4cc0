"""API keys: read from a file, taken anew when it changes, compared as hashes in constant time."""

import asyncio
import hashlib
import hmac
import logging
from collections.abc import Iterable
from pathlib import Path

from service.errors import SettingError, Unauthorized

# A change is taken at the second look that finds it, so a key that was removed is refused after two of them.
LOOK_EVERY_SECONDS = 1.0

_log = logging.getLogger(__name__)

# SHA-256 digests, so that no dump of the process shows a key.
Keys = frozenset[bytes]


class KeyFile:
    """The keys of the file at *path*, which the setting named *setting* gave; raises SettingError where it holds none.

    A file that is replaced, written anew, or a link that is turned to another one, is taken without a restart. One that
    cannot be read or holds no key changes nothing: the former keys stay in force, and the log says so once.
    """

    def __init__(self, path: Path, *, setting: str) -> None:
        self._path = path
        self._setting = setting
        try:
            self._keys = read_api_keys(path)
        except ValueError as error:
            raise SettingError(f"{setting}: {error}.") from error
        self._fault = ""

    def check(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """Raise Unauthorized unless *headers* carry a key that is in force."""
        check_api_key(headers, self._keys)

    async def watch(self) -> None:
        """Look at the file for ever, and take keys that stood still from one look to the next: no half of a key."""
        seen: Keys | None = self._keys
        while True:
            await asyncio.sleep(LOOK_EVERY_SECONDS)
            last, seen = seen, await asyncio.to_thread(self._read)
            if seen is not None and seen == last != self._keys:
                self._take(seen)

    def _read(self) -> Keys | None:
        try:
            keys = read_api_keys(self._path)
        except ValueError as error:
            if str(error) != self._fault:
                _log.error("%s is refused, the former keys stay in force: %s.", self._setting, error)
            self._fault = str(error)
            return None
        self._fault = ""
        return keys

    def _take(self, keys: Keys) -> None:
        added, removed = len(keys - self._keys), len(self._keys - keys)
        self._keys = keys
        _log.info("%s has changed: %d keys are new, %d no longer count.", self._setting, added, removed)


def read_api_keys(path: Path) -> Keys:
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


def check_api_key(headers: Iterable[tuple[bytes, bytes]], keys: Keys) -> None:
    """Raise Unauthorized unless *headers* carry one of *keys*: `Authorization: Bearer KEY` or `X-API-Key: KEY`."""
    for name, value in headers:
        scheme, _, credentials = value.partition(b" ")
        if name == b"x-api-key" and _is_known(value.strip(), keys):
            return
        if name == b"authorization" and scheme.lower() == b"bearer" and _is_known(credentials.strip(), keys):
            return
    raise Unauthorized("Send one of the service's keys as `Authorization: Bearer KEY` or as `X-API-Key: KEY`.")


def _is_known(key: bytes, keys: Keys) -> bool:
    digest = _digest(key)
    # Every key is compared, in the same time each, so that the time taken says nothing about any of them.
    return sum(hmac.compare_digest(digest, known) for known in keys) > 0


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()
