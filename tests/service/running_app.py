"""The whole application inside the test's process and event loop, without a socket."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from fastapi import FastAPI
from prometheus_client import CollectorRegistry

from service.app import create_app
from service.settings import Settings


@dataclass
class RunningApp:
    app: FastAPI
    client: httpx.AsyncClient
    registry: CollectorRegistry

    async def until_ready(self, status: int = 200) -> None:
        """Wait until /health/ready answers *status*."""
        async with asyncio.timeout(30):
            while (await self.client.get("/health/ready")).status_code != status:  # noqa: ASYNC110  what a prober does
                await asyncio.sleep(0.01)

    def sample(self, name: str, /, **labels: str) -> float:
        return self.registry.get_sample_value(name, labels) or 0.0


@asynccontextmanager
async def running_app(bundle: Path, **settings: object) -> AsyncIterator[RunningApp]:
    """Run the application on *bundle* from its start-up to its drain."""
    registry = CollectorRegistry()
    values = {"bundle": bundle, "provider": "cpu", "decode_threads": 1} | settings
    app = create_app(Settings(_env_file=None, **values), registry)  # type: ignore[call-arg]
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            yield RunningApp(app, client, registry)
