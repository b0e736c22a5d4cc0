"""What every answer tells a browser: that it is what its type says, is kept nowhere, and may load and frame nothing."""

from collections.abc import Iterable

Header = tuple[bytes, bytes]

_POLICY_NAME = b"content-security-policy"
_ON_EVERY_ANSWER: tuple[Header, ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
)
_POLICY: Header = (_POLICY_NAME, b"default-src 'none'; frame-ancestors 'none'")
_WITH_POLICY = (*_ON_EVERY_ANSWER, _POLICY)


def security_headers(own: Iterable[Header] = ()) -> tuple[Header, ...]:
    """Return the headers to add to an answer whose *own* are these; a page brings a policy of what it needs itself."""
    return _ON_EVERY_ANSWER if any(name == _POLICY_NAME for name, _ in own) else _WITH_POLICY
