"""The one place that builds objects: settings in, an application out that loads, warms up, serves and drains."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Route

from service.bundle import Bundle, Calibration, Manifest, read_bundle
from service.http import routes as api
from service.http import schemas
from service.http.body import Bodies
from service.http.exchange import ExchangeMiddleware, trace_of
from service.http.keys import read_api_keys
from service.http.openapi import DESCRIPTION
from service.inference.batcher import Batcher
from service.inference.canaries import CanaryWatch
from service.inference.engine import Engine, Provider
from service.inference.health import Health
from service.inference.pipeline import Image, Pipeline, run_on
from service.settings import Settings
from service.verdict import Judge, Row
from service.watch.metrics import Metrics

_log = logging.getLogger(__name__)


def create_app(settings: Settings, registry: CollectorRegistry | None = None) -> FastAPI:
    """Return the application; its lifespan raises BundleError or ProviderError where *settings* cannot be served.

    Without a *registry* of the caller's, the metrics get a new one that has those of the process too.
    """
    metrics = Metrics(_process_registry() if registry is None else registry)
    health = Health()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        bundle, engine = await asyncio.to_thread(_load, settings)
        _describe(bundle, engine, metrics)
        async with _pipeline(settings, bundle, engine, health, metrics) as pipeline:
            app.state.serving = api.Serving(
                manifest=bundle.manifest,
                card=model_card(bundle, engine.provider).model_dump_json().encode(),
                health=health,
                metrics=metrics,
                bodies=Bodies(
                    max_body_bytes=settings.max_body_bytes,
                    max_buffered_bytes=settings.max_buffered_bytes,
                    timeout_seconds=settings.body_timeout_ms / 1000,
                ),
                pipeline=pipeline,
                deadline_seconds=settings.deadline_ms / 1000,
                max_files=min(settings.max_files, settings.max_queue),
            )
            yield
            health.fail("draining")

    app = FastAPI(
        title="mos-guard",
        version="1",
        description=DESCRIPTION,
        lifespan=lifespan,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.health = health
    app.include_router(api.router)

    async def problem(request: Request, error: Exception) -> Response:
        return api.problem_response(error, trace_of(request), metrics)

    # The framework would answer these two in its own way; every other error passes on to the middleware.
    app.add_exception_handler(HTTPException, problem)
    app.add_exception_handler(RequestValidationError, problem)
    app.add_middleware(
        ExchangeMiddleware,
        routes=frozenset(route.path for route in api.router.routes if isinstance(route, Route))
        | {"/docs", "/openapi.json"},
        api_keys=frozenset() if settings.api_keys_file is None else read_api_keys(settings.api_keys_file),
        max_body_bytes=settings.max_body_bytes,
        health=health,
        metrics=metrics,
        problem=partial(api.problem_response, metrics=metrics),
    )
    return app


def model_card(bundle: Bundle, provider: Provider) -> schemas.ModelCard:
    """Return what /model tells of *bundle* as it is served on *provider*."""
    manifest, calibration = bundle.manifest, bundle.calibration
    return schemas.ModelCard(
        **manifest.model_dump(exclude={"schema_version"}),
        provider=provider,
        threshold=None if calibration is None else calibration.threshold,
        guarantee=None
        if calibration is None
        else schemas.Guarantee(**calibration.model_dump(exclude={"threshold", "reference"})),
        preprocess_sha256=manifest.input.sha256,
    )


def _load(settings: Settings) -> tuple[Bundle, Engine]:
    bundle = read_bundle(settings.bundle)
    engine = Engine(
        bundle,
        provider=settings.provider,
        intra_op_threads=settings.intra_op_threads,
        max_batch_size=settings.max_batch_size,
    )
    name, version = bundle.manifest.name, bundle.manifest.version
    # Loudly, because the one asked for and the one in use are two things.
    _log.info("Serving %s version %s on %s; %s was asked for.", name, version, engine.provider, settings.provider)
    return bundle, engine


def _describe(bundle: Bundle, engine: Engine, metrics: Metrics) -> None:
    manifest = bundle.manifest
    metrics.describe_model(
        {
            "name": manifest.name,
            "version": manifest.version,
            "model_sha256": manifest.model_sha256,
            "provider": engine.provider,
            "precision": manifest.precision,
        },
        groups=[group.name for group in manifest.groups],
    )
    if bundle.calibration is not None:
        metrics.describe_calibration(bundle.calibration.threshold, bundle.calibration.tpr)


@asynccontextmanager
async def _pipeline(
    settings: Settings, bundle: Bundle, engine: Engine, health: Health, metrics: Metrics
) -> AsyncIterator[Pipeline | None]:
    """Start the threads and the canaries, and drain them at the end; nothing of it for an uncalibrated bundle."""
    if bundle.calibration is None:
        health.fail("uncalibrated")
        metrics.watch(queue_depth=lambda: 0, ready=lambda: health.ready)
        _log.error("The bundle is not calibrated: the service lives, is not ready and gives no verdicts.")
        yield None
        return
    batcher: Batcher[Image, Row] = Batcher(
        partial(run_on, engine, health),
        max_batch_size=settings.max_batch_size,
        max_wait_seconds=settings.max_wait_ms / 1000,
        max_queue=settings.max_queue,
        on_batch=metrics.batch,
    )
    pipeline = Pipeline(
        input_spec=bundle.manifest.input,
        max_pixels=settings.max_pixels,
        decode_threads=settings.decode_threads,
        max_queue=settings.max_queue,
        batcher=batcher,
        judge=_judge(bundle.manifest, bundle.calibration),
    )
    watch = CanaryWatch(
        bundle.canaries,
        pipeline,
        health,
        warm_up=engine.warm_up,
        tolerance=settings.canary_tolerance,
        interval_seconds=settings.canary_interval_seconds,
        observe=metrics.canary,
    )
    metrics.watch(queue_depth=lambda: pipeline.depth, ready=lambda: health.ready)
    pipeline.start()
    canaries = asyncio.create_task(watch.run(), name="canaries")
    try:
        yield pipeline
    finally:
        canaries.cancel()
        await asyncio.wait([canaries])
        await _drain(pipeline, settings.drain_seconds)


async def _drain(pipeline: Pipeline, drain_seconds: float) -> None:
    try:
        async with asyncio.timeout(drain_seconds):
            await pipeline.drain()
    except TimeoutError:
        _log.error("The engine did not end within %g s; it is left behind.", drain_seconds)


def _judge(manifest: Manifest, calibration: Calibration) -> Judge:
    return Judge(
        classes=manifest.classes,
        group_names=[group.name for group in manifest.groups],
        group_of_class=manifest.group_of_class,
        threshold=calibration.threshold,
        ranks=calibration.reference.ranks,
        reference_scores=calibration.reference.scores,
    )


def _process_registry() -> CollectorRegistry:
    # They would be a second series for each counter and histogram, which nobody reads.
    disable_created_metrics()  # type: ignore[no-untyped-call]
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry
