"""The one place that builds objects: settings in, an application out that loads, warms up, serves and drains."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from prometheus_client import (
    CollectorRegistry,
    GCCollector,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from starlette.exceptions import HTTPException
from starlette.routing import Route
from starlette.types import ASGIApp

from service.bundle import Bundle, Calibration, Manifest, read_bundle
from service.http import docs
from service.http.api_keys import KeyFile
from service.http.body import BodyLimiter
from service.http.direct import DirectRoutes
from service.http.exchange import METRICS_ROUTE, PROBE_ROUTES, KnownRoutes
from service.http.feedback import open_desk
from service.http.feedback import router as feedback_router
from service.http.judging import OnVerdict, Serving
from service.http.middleware import ExchangeMiddleware
from service.http.openapi import DESCRIPTION
from service.http.page.routes import router as page_router
from service.http.routes import VERDICT_ENDPOINTS, router
from service.http.v2.routes import router as v2_router
from service.inference.batcher import Batch, Batcher
from service.inference.canaries import CanaryChecks
from service.inference.engine import Engine
from service.inference.health import Health
from service.inference.load import Load
from service.inference.pipeline import Image, Pipeline, judge_of, run_engine
from service.serving.guard import HANG_SECONDS, Guard
from service.serving.swap import Swap
from service.settings import Settings
from service.verdict import Row, Verdict
from service.watch.drift import Drift
from service.watch.feedback import VerdictMemory
from service.watch.logs import BackgroundHandler
from service.watch.loop_lag import watch_loop_lag
from service.watch.metrics import Metrics
from service.watch.tracing import open_traces
from service.watch.verdict_log import VerdictLog

if TYPE_CHECKING:
    from service.watch.spans import Traces

_log = logging.getLogger(__name__)


def create_app(
    settings: Settings, registry: CollectorRegistry | None = None, service_log: BackgroundHandler | None = None
) -> FastAPI:
    """Return the application; its lifespan raises SettingError, BundleError or ProviderError where it cannot serve.

    Its state holds `health` and `is_reload_wanted` from the beginning, for whoever ends the process or wants its bundle
    to be read again, and `serving` while it is up. Without a *registry* of the caller's, the metrics get a new one that
    has those of the process too. What *service_log* drops is counted.
    """
    metrics = Metrics(_process_registry() if registry is None else registry)
    traces = open_traces()
    health = Health()
    api_keys = _key_file(settings.api_keys_file, "MOS_API_KEYS_FILE")
    feedback_keys = _key_file(settings.feedback_keys_file, "MOS_FEEDBACK_KEYS_FILE")
    if service_log is not None:
        metrics.count_dropped_lines("service", lambda: service_log.dropped_lines)

    app = _Application(
        title="mos-guard",
        version="1",
        description=DESCRIPTION,
        lifespan=partial(
            _lifespan,
            settings,
            health=health,
            metrics=metrics,
            traces=traces,
            api_keys=api_keys,
            feedback_keys=feedback_keys,
        ),
        openapi_url="/openapi.json" if settings.docs == "on" else None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.state.health = health
    app.state.is_reload_wanted = asyncio.Event()
    routers = _routers(settings)
    for part in routers:
        app.include_router(part)
    # The framework would answer these two in its own way; the middleware answers every error.
    app.add_exception_handler(HTTPException, _pass_on)
    app.add_exception_handler(RequestValidationError, _pass_on)
    around = partial(
        ExchangeMiddleware,
        known_routes=KnownRoutes(
            {route.path for part in routers for route in part.routes if isinstance(route, Route)}
            | ({app.openapi_url} if app.openapi_url else set())
        ),
        public_routes=PROBE_ROUTES | ({METRICS_ROUTE} if settings.metrics == "open" else set()),
        api_keys=api_keys,
        max_body_bytes=settings.max_body_bytes,
        health=health,
        metrics=metrics,
        traces=traces,
    )
    app.add_middleware(around)
    app.outermost = partial(DirectRoutes, endpoints=VERDICT_ENDPOINTS, around=around)
    return app


class _Application(FastAPI):
    """The framework's application, with *outermost* around all that it consists of."""

    outermost: Callable[[ASGIApp], ASGIApp]

    def build_middleware_stack(self) -> ASGIApp:
        """Return what serves each exchange."""
        return self.outermost(super().build_middleware_stack())


@asynccontextmanager
async def _lifespan(
    settings: Settings,
    app: FastAPI,
    *,
    health: Health,
    metrics: Metrics,
    traces: "Traces | None",
    api_keys: KeyFile | None,
    feedback_keys: KeyFile | None,
) -> AsyncIterator[None]:
    """Load the bundle, serve it, and whatever is to be watched meanwhile; at the end answer what was accepted."""
    with _records(settings, app, feedback_keys, metrics, traces) as on_verdict:
        swap = _swap(settings, metrics, traces, app.state.is_reload_wanted)
        await swap.start()
        app.state.serving = serving = _serving(settings, swap, health, metrics, on_verdict)
        metrics.at_each_scrape(
            queue_depth=lambda: swap.guard.depth,
            ready=lambda: not serving.faults,
            engine_lost_seconds=lambda: swap.guard.engine_lost_seconds,
            drift=lambda: {} if swap.guard.drift is None else swap.guard.drift.states,
        )
        watches = [swap.run(), watch_loop_lag(metrics.loop_lag)]
        watches += [keys.watch() for keys in (api_keys, feedback_keys) if keys]
        if settings.bundle_watch_seconds:
            watches.append(swap.watch(settings.bundle_watch_seconds))
        try:
            async with _beside(watches):
                yield
        finally:
            health.fail("draining")
            await swap.end()


def _routers(settings: Settings) -> list[APIRouter]:
    """Return the routes that these settings open."""
    routers = [router, v2_router]
    if settings.feedback_keys_file is not None:
        routers.append(feedback_router)
    if settings.docs == "on":
        routers.append(docs.router)
    if settings.page == "on":
        routers.append(page_router)
    return routers


def _key_file(path: Path | None, setting: str) -> KeyFile | None:
    return None if path is None else KeyFile(path, setting=setting)


@asynccontextmanager
async def _beside(watches: Sequence[Coroutine[Any, Any, None]]) -> AsyncIterator[None]:
    """Run *watches*, none of which ends by itself, as long as the block lasts."""
    tasks = [asyncio.create_task(watch) for watch in watches]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


@contextmanager
def _records(
    settings: Settings, app: FastAPI, feedback_keys: KeyFile | None, metrics: Metrics, traces: "Traces | None"
) -> Iterator[Sequence[OnVerdict]]:
    """Open what keeps verdicts and labels, where it is asked for; yield who wants to hear of each verdict.

    The end sends and writes what waits.
    """
    on_verdict: list[OnVerdict] = []
    with ExitStack() as stack:
        if traces is not None:
            stack.callback(traces.close)
        if settings.verdict_log is not None:
            log = VerdictLog(
                settings.verdict_log,
                share=settings.verdict_log_share,
                max_bytes=settings.verdict_log_max_bytes,
                max_files=settings.verdict_log_files,
            )
            stack.enter_context(log)
            metrics.count_dropped_lines("verdicts", lambda: log.dropped_lines)
            on_verdict.append(log.record)
        if feedback_keys is not None and settings.feedback_log is not None:
            desk = open_desk(
                settings.feedback_log,
                keys=feedback_keys,
                max_verdicts=settings.feedback_remember,
                timeout_seconds=settings.body_timeout_ms / 1000,
                metrics=metrics,
            )
            app.state.feedback = stack.enter_context(desk)
            on_verdict.append(_remembered_by(app.state.feedback.memory))
        yield on_verdict


def _remembered_by(memory: VerdictMemory) -> OnVerdict:
    def remember(request_id: str, index: int, verdict: Verdict, manifest: Manifest, *, trace_id: str | None) -> None:
        memory.remember(request_id, index, verdict, manifest)

    return remember


async def _pass_on(request: Request, error: Exception) -> NoReturn:
    raise error


def _swap(settings: Settings, metrics: Metrics, traces: "Traces | None", is_wanted: asyncio.Event) -> Swap:
    def enter(guard: Guard) -> None:
        _describe(guard, settings, metrics)
        guard.watch(metrics.canary)

    return Swap(
        settings.bundle,
        partial(_build_guard, settings, metrics, traces),
        is_wanted=is_wanted,
        drain_seconds=settings.drain_seconds,
        enter=enter,
        on_outcome=metrics.reload,
    )


def _build_guard(settings: Settings, metrics: Metrics, traces: "Traces | None", path: Path) -> Guard:
    bundle = read_bundle(path)
    engine = Engine(
        bundle,
        provider=settings.provider,
        intra_op_threads=settings.intra_op_threads,
        max_batch_size=settings.max_batch_size,
        cuda_graphs=settings.cuda_graphs,
        tensorrt_cache=settings.tensorrt_cache,
    )
    if bundle.calibration is None:
        return Guard(bundle, engine.provider, Health("uncalibrated"))
    health = Health("starting")
    pipeline = _build_pipeline(
        settings, bundle, bundle.calibration, engine, health, partial(_record_batch, metrics, traces)
    )
    checks = CanaryChecks(
        bundle.canaries,
        pipeline,
        health,
        score_scale=bundle.manifest.decision_in_force.score_scale,
        warm_up=engine.warm_up,
        tolerance=settings.canary_tolerance,
        interval_seconds=settings.canary_interval_seconds,
    )
    drift = Drift(
        bundle.calibration,
        reject_share=settings.drift_reject_share,
        run_length=settings.drift_run_length,
        strangers_share=settings.drift_strangers_share,
    )
    return Guard(
        bundle,
        engine.provider,
        health,
        pipeline=pipeline,
        checks=checks,
        drift=drift,
        # A batch that callers still wait for is slow, and does not hang.
        hang_seconds=max(HANG_SECONDS, settings.deadline_ms / 1000),
    )


def _build_pipeline(
    settings: Settings,
    bundle: Bundle,
    calibration: Calibration,
    engine: Engine,
    health: Health,
    on_batch: Callable[[Batch], None],
) -> Pipeline:
    load = Load()
    batcher: Batcher[Image, Row] = Batcher(
        partial(run_engine, engine, health, load),
        threads=engine.in_flight,
        max_batch_size=engine.batch_size,
        max_wait_seconds=settings.max_wait_ms / 1000,
        is_behind=None if engine.shares_device else lambda: load.decoding > settings.decode_threads,
        max_queue=settings.max_queue + len(bundle.canaries),  # callers are refused before; the canaries never are
        on_batch=on_batch,
    )
    return Pipeline(
        input_spec=bundle.manifest.input,
        max_pixels=settings.max_pixels,
        decode_threads=settings.decode_threads,
        max_queue=settings.max_queue,
        batcher=batcher,
        judge=judge_of(bundle.manifest, calibration),
        load=load,
    )


def _record_batch(metrics: Metrics, traces: "Traces | None", batch: Batch) -> None:
    metrics.batch(len(batch.callers), batch.engine_seconds)
    if traces is not None:
        traces.batch(batch.callers, batch.started_at, batch.run_seconds, batch.error)


def _describe(guard: Guard, settings: Settings, metrics: Metrics) -> None:
    """Say which bundle is in service now, in the log and in the series."""
    manifest, calibration = guard.manifest, guard.bundle.calibration
    # Loudly, because the provider asked for and the one in use are two things.
    _log.info(
        "Serving %s version %s on %s; %s was asked for.",
        *(manifest.name, manifest.version, guard.provider, settings.provider),
    )
    _log.info("Decided by %s.", manifest.decided_by)
    metrics.describe_model(
        {
            "name": manifest.name,
            "version": manifest.version,
            "model_sha256": manifest.model_sha256,
            "provider": guard.provider,
            "precision": manifest.precision,
        },
        groups=[group.name for group in manifest.groups],
        decided_by=manifest.decided_by,
    )
    if calibration is None:
        _log.error("The bundle is not calibrated: the service lives, is not ready and gives no verdicts.")
    else:
        (low, high), own = calibration.tpr_interval, 1 - settings.drift_strangers_share
        metrics.describe_calibration(
            calibration.threshold,
            expected_in_ratio=calibration.tpr * own,
            bounds=(low * own, 1 - (1 - high) * own),  # every stranger is out, or every one is in
        )


def _serving(
    settings: Settings, swap: Swap, health: Health, metrics: Metrics, on_verdict: Sequence[OnVerdict]
) -> Serving:
    return Serving(
        swap=swap,
        health=health,
        metrics=metrics,
        body_limiter=BodyLimiter(
            max_body_bytes=settings.max_body_bytes,
            max_buffered_bytes=settings.max_buffered_bytes,
            timeout_seconds=settings.body_timeout_ms / 1000,
        ),
        deadline_seconds=settings.deadline_ms / 1000,
        engine_grace_seconds=settings.engine_grace_seconds,
        max_files=min(settings.max_files, settings.max_queue),
        on_verdict=on_verdict,
    )


def _process_registry() -> CollectorRegistry:
    # They would be a second series for each counter and histogram, which nobody reads.
    disable_created_metrics()  # type: ignore[no-untyped-call]
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    return registry
