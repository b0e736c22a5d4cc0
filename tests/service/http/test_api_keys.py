"""API keys open the service to those who have one, and to nobody else."""

from pathlib import Path

import pytest

from service.errors import Unauthorized
from service.http.api_keys import check_api_key, read_api_keys


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
