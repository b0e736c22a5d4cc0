"""The Python client of the service: verdicts as values, problems as exceptions. It needs the extra `client` (httpx).

    from service.client import Client

    with Client("http://127.0.0.1:8000") as client:
        verdict = client.predict("apple.jpg")
        if verdict.is_in:
            print(verdict.label)

`AsyncClient` has the same methods to be awaited. Begin with `clients.py`; `calls.py` is what both do, `answers.py` what
they return and raise. `trace_headers.py` is all that it knows of OpenTelemetry, which need not be there.
"""

from service.client.answers import (
    ClientError,
    Labelled,
    Model,
    Problem,
    Ranked,
    Refused,
    Unreachable,
    Verdict,
)
from service.client.calls import Picture
from service.client.clients import AsyncClient, Client

__all__ = [
    "AsyncClient",
    "Client",
    "ClientError",
    "Labelled",
    "Model",
    "Picture",
    "Problem",
    "Ranked",
    "Refused",
    "Unreachable",
    "Verdict",
]
