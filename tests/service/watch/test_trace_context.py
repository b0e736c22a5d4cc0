"""What a caller says of its trace, by the rules of W3C Trace Context."""

import pytest

from service.watch.trace_context import TraceContext, parse_traceparent

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.mark.parametrize(
    ("value", "is_sampled"),
    [
        (f"00-{TRACE}-{SPAN}-01", True),
        (f"00-{TRACE}-{SPAN}-00", False),
        (f"00-{TRACE}-{SPAN}-03", True),  # further flags are not for us
        (f"cc-{TRACE}-{SPAN}-01", True),
        (f"cc-{TRACE}-{SPAN}-01-what-a-later-version-adds", True),
    ],
)
def test_a_well_formed_header_is_taken(value: str, is_sampled: bool) -> None:
    """Of a later version, too, as far as it is like this one."""
    assert parse_traceparent(value.encode()) == TraceContext(TRACE, SPAN, is_sampled, is_remote=True)


@pytest.mark.parametrize(
    "value",
    [
        "",
        "00",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE[1:]}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-01-more",
        f"cc-{TRACE}-{SPAN}-01more",
        f"00-{TRACE}-{SPAN}-01\n",
    ],
)
def test_any_other_is_as_good_as_none(value: str) -> None:
    """Nothing of it comes into a log."""
    assert parse_traceparent(value.encode()) is None


def test_a_line_names_only_a_span_of_the_services_own() -> None:
    """The caller's span did not write it."""
    context = TraceContext(TRACE, SPAN, is_sampled=True, is_remote=True)
    assert context.log_fields == {"trace_id": TRACE, "trace_flags": "01"}
    own = context._replace(is_remote=False, is_sampled=False)
    assert own.log_fields == {"trace_id": TRACE, "span_id": SPAN, "trace_flags": "00"}
