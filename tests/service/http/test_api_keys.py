"""API keys open the service to those who have one, and to nobody else, also while their file changes."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from service.errors import SettingError, Unauthorized
from service.http import api_keys
from service.http.api_keys import KeyFile, check_api_key, read_api_keys


@pytest.fixture
def keys(tmp_path: Path) -> frozenset[bytes]:
    path = tmp_path / "keys"
    path.write_text("first-key\n\n  second-key  \n")
    return read_api_keys(path)


@pytest.mark.parametrize(
    "header",
    [
        (b"authorization", b"Bearer first-key"),
        (b"authorization", b"bearer second-key"),
        (b"x-api-key", b"first-key"),
        (b"x-api-key", b"second-key"),
    ],
)
def test_a_known_key_passes(keys: frozenset[bytes], header: tuple[bytes, bytes]) -> None:
    """Either header carries a key, and each line of the file is one."""
    check_api_key([(b"host", b"x"), header], keys)


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"authorization", b"Bearer wrong")],
        [(b"authorization", b"Bearer ")],
        [(b"authorization", b"Basic first-key")],
        [(b"authorization", b"first-key")],
        [(b"x-api-key", b"")],
        [(b"x-api-key", b"first-key second-key")],
        [(b"x-api-key", b"\xff\xfe")],
        [(b"cookie", b"first-key")],
    ],
)
def test_anything_else_is_unauthorized(keys: frozenset[bytes], headers: list[tuple[bytes, bytes]]) -> None:
    """A missing, wrong, empty or misplaced key is refused."""
    with pytest.raises(Unauthorized):
        check_api_key(headers, keys)


def test_keys_are_kept_as_digests(keys: frozenset[bytes]) -> None:
    """No key itself stays in memory, where a dump would show it."""
    assert not any(b"key" in digest for digest in keys)
    assert {len(digest) for digest in keys} == {32}


@pytest.fixture
async def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[KeyFile]:
    """The file `keys`, which is looked at all the time."""
    monkeypatch.setattr(api_keys, "LOOK_EVERY_SECONDS", 0.01)
    (tmp_path / "keys").write_text("former\n")
    key_file = KeyFile(tmp_path / "keys", setting="MOS_API_KEYS_FILE")
    watching = asyncio.create_task(key_file.watch())
    yield key_file
    watching.cancel()


def opens(key_file: KeyFile, key: str) -> bool:
    try:
        key_file.check([(b"x-api-key", key.encode())])
    except Unauthorized:
        return False
    return True


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110  a file has no event to wait for
            await asyncio.sleep(0.01)


def turn_link(link: Path, target: Path) -> None:
    """Replace a link in one step, as Kubernetes does where a Secret has changed."""
    turned = link.with_name("turned")
    turned.symlink_to(target)
    turned.replace(link)


async def test_a_file_written_anew_is_taken(watched: KeyFile, tmp_path: Path) -> None:
    """A key that was added opens, one that was removed does not."""
    (tmp_path / "keys").write_text("next\n")
    await until(lambda: opens(watched, "next"))
    assert not opens(watched, "former")


async def test_a_turned_link_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mounted Secret is a link into a folder that is a link itself; the file's own path never changes."""
    monkeypatch.setattr(api_keys, "LOOK_EVERY_SECONDS", 0.01)
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "keys").write_text(f"{name}-key\n")
    (tmp_path / "..data").symlink_to("first")
    (tmp_path / "keys").symlink_to("..data/keys")
    key_file = KeyFile(tmp_path / "keys", setting="MOS_API_KEYS_FILE")
    watching = asyncio.create_task(key_file.watch())
    assert opens(key_file, "first-key")
    turn_link(tmp_path / "..data", Path("second"))
    await until(lambda: opens(key_file, "second-key"))
    assert not opens(key_file, "first-key")
    watching.cancel()


@pytest.mark.parametrize("content", [None, b"", b"\n \n", b"\xff\xfe"], ids=["gone", "empty", "blank", "no text"])
async def test_a_bad_file_keeps_the_former_keys_and_is_told_once(
    watched: KeyFile, tmp_path: Path, content: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    """It neither opens the service nor shuts it; and with a good file the watch goes on."""
    path = tmp_path / "keys"
    path.unlink() if content is None else path.write_bytes(content)
    await until(lambda: bool(caplog.records))
    await asyncio.sleep(0.1)  # many looks more
    [record] = caplog.records
    assert (record.levelname, "former keys stay in force" in record.getMessage()) == ("ERROR", True)
    assert opens(watched, "former")
    assert not opens(watched, "")
    path.write_text("next\n")
    await until(lambda: opens(watched, "next"))


async def test_a_file_that_is_being_written_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of a key would be a key that is easier to guess."""
    contents = iter(["half", "half-a-key", "half-a-key"])
    path = tmp_path / "keys"
    path.write_text("former\n")
    key_file = KeyFile(path, setting="MOS_API_KEYS_FILE")
    was_open = []

    async def next_look(seconds: float) -> None:
        was_open.append(opens(key_file, "half"))
        content = next(contents, None)
        if content is None:
            raise asyncio.CancelledError
        path.write_text(content)

    monkeypatch.setattr(api_keys.asyncio, "sleep", next_look)
    with pytest.raises(asyncio.CancelledError):
        await key_file.watch()
    assert was_open == [False] * 4
    assert opens(key_file, "half-a-key")


async def test_a_removed_key_is_refused_within_three_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That is what operators are told; the time is counted, not waited for."""
    path = tmp_path / "keys"
    path.write_text("former\n")
    key_file = KeyFile(path, setting="MOS_API_KEYS_FILE")
    path.write_text("next\n")
    waited_seconds = []

    async def next_look(seconds: float) -> None:
        if not opens(key_file, "former"):
            raise asyncio.CancelledError
        waited_seconds.append(seconds)

    monkeypatch.setattr(api_keys.asyncio, "sleep", next_look)
    with pytest.raises(asyncio.CancelledError):
        await key_file.watch()
    assert sum(waited_seconds) < 3


async def test_the_log_counts_keys_and_tells_none(
    watched: KeyFile, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever rotates a key sees that it was taken, and nobody else sees the key."""
    with caplog.at_level(logging.INFO):
        (tmp_path / "keys").write_text("former\nnext\nlast\n")
        await until(lambda: opens(watched, "next"))
    [record] = caplog.records
    assert record.getMessage() == "MOS_API_KEYS_FILE has changed: 2 keys are new, 0 no longer count."


def test_a_file_without_a_key_is_a_wrong_setting(tmp_path: Path) -> None:
    """Where it went bad after the settings were checked the service still does not start."""
    (tmp_path / "keys").write_text("")
    with pytest.raises(SettingError, match="MOS_API_KEYS_FILE: the file holds no key"):
        KeyFile(tmp_path / "keys", setting="MOS_API_KEYS_FILE")
