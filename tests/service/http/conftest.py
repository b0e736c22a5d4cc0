"""The application, ready, on the tiny bundle."""

from collections.abc import AsyncIterator

import pytest

from service.bundle import Bundle
from tests.service.running_app import RunningApp, running_app


@pytest.fixture
async def running(tiny_bundle: Bundle) -> AsyncIterator[RunningApp]:
    async with running_app(tiny_bundle.path, canary_interval_seconds=60) as running:
        await running.until_ready()
        yield running
