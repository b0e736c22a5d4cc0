"""Settings: environment variables with the prefix MOS_, or a `.env` file; each has a default that works."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    Field,
    FilePath,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from service.http.api_keys import read_api_keys
from service.machine import usable_cores
from service.preprocess import DEFAULT_MAX_PIXELS

DEFAULT_BUNDLE = Path(__file__).parent / "default_bundle"

SHORTEST_WATCH_SECONDS = 0.05


class Settings(BaseSettings):
    """Everything that can be set, read once and handed in; each unit is in its name."""

    model_config = SettingsConfigDict(
        env_prefix="MOS_", env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True, allow_inf_nan=False
    )

    bundle: Annotated[Path, Field(description="Directory of the bundle to serve.")] = DEFAULT_BUNDLE
    bundle_watch_seconds: Annotated[
        float,
        Field(
            ge=0,
            description="Seconds between two looks at whether another bundle or calibration lies there, which is then "
            "taken into service; 0 waits for SIGHUP.",
        ),
    ] = 0.0
    provider: Annotated[
        Literal["auto", "cuda", "tensorrt", "cpu"],
        Field(description="Execution provider; `auto` takes CUDA where it works, else the CPU, and says which."),
    ] = "auto"

    cuda_graphs: Annotated[
        bool,
        Field(description="On CUDA, replay the launches of each batch size as one; not every graph allows it."),
    ] = False
    tensorrt_cache: Annotated[
        Path | None,
        Field(
            description="Folder where TensorRT keeps what it built, for it takes minutes; it is run as it lies there, "
            "so nobody else may write to it."
        ),
    ] = None

    host: Annotated[str, Field(description="Address to listen on; 0.0.0.0 inside a container.")] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535, description="TCP port to listen on; 0 takes any free one.")] = 8000
    api_keys_file: Annotated[
        FilePath | None,
        Field(
            description="File with one API key a line; when set, every route but /health/*, /v2/health/*, /metrics and "
            "the page asks for one. A file that changes is taken without a restart."
        ),
    ] = None
    metrics: Annotated[
        Literal["open", "key"],
        Field(description="Whether /metrics is `open` to all who reach the port, or asks for an API key too (`key`)."),
    ] = "open"
    docs: Annotated[
        Literal["on", "off"],
        Field(description="Whether /docs and /openapi.json are there; with `off` they are 404."),
    ] = "on"
    page: Annotated[
        Literal["on", "off"],
        Field(description="Whether the page for people is there, on /; with `off` it is 404."),
    ] = "on"

    max_batch_size: Annotated[
        int,
        Field(ge=1, le=1024, description="Most images in one run of the model; on the CPU never more than 8."),
    ] = 32
    max_wait_ms: Annotated[
        float,
        Field(
            ge=0,
            description="How long a batch gathers after its oldest image, in ms: on a GPU while another runs, on the "
            "CPU while images wait to be decoded.",
        ),
    ] = 10.0
    max_queue: Annotated[
        PositiveInt, Field(description="Most images that are being decoded or wait for the engine; then 429.")
    ] = 256
    deadline_ms: Annotated[
        PositiveFloat, Field(description="Time from the last byte of the body to the answer, in ms; then 504.")
    ] = 10_000.0

    max_body_bytes: Annotated[PositiveInt, Field(description="Most bytes of one request body; then 413.")] = 10 * 2**20
    body_timeout_ms: Annotated[
        PositiveFloat, Field(description="Time from the headers to the last byte of the body, in ms; then 408.")
    ] = 10_000.0
    max_buffered_bytes: Annotated[
        PositiveInt, Field(description="Most bytes of all bodies that are held at one time; then 429.")
    ] = 256 * 2**20
    max_pixels: Annotated[PositiveInt, Field(description="Most pixels of one image, by its header; then 413.")] = (
        DEFAULT_MAX_PIXELS
    )
    max_files: Annotated[
        PositiveInt, Field(description="Most images of one /predict/batch, never more than the queue; then 413.")
    ] = 32

    decode_threads: Annotated[
        PositiveInt, Field(description="Threads that decode and resize; one a usable core unless set.")
    ] = Field(default_factory=usable_cores)
    intra_op_threads: Annotated[
        NonNegativeInt,
        Field(
            description="Threads that the model has on the CPU, each with a run of its own, or all with that of an "
            "image that comes alone; 0 is one a usable core, and on a GPU one.",
        ),
    ] = 0

    canary_interval_seconds: Annotated[
        PositiveFloat, Field(description="Seconds between two runs of the canaries while serving.")
    ] = 5.0
    canary_tolerance: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            description="Largest accepted difference of a canary's scores from the expected ones; a score other than "
            "MOS counts in its parts' deviations.",
        ),
    ] = 0.01
    engine_grace_seconds: Annotated[
        PositiveFloat,
        Field(
            description="Seconds for which the engine may have failed without passing a check, or hung, before "
            "/health/live answers 503 and an orchestrator restarts the process."
        ),
    ] = 60.0
    drift_reject_share: Annotated[
        float | None,
        Field(
            gt=0,
            lt=1,
            description="Share of `out` that the drift test of rejects is to find soonest; twice what the calibration "
            "expects at most unless set.",
        ),
    ] = None
    drift_run_length: Annotated[
        float,
        Field(ge=100, le=1e12, description="Images between two false alarms of a drift test, on average and at least."),
    ] = 10_000_000.0
    drift_strangers_share: Annotated[
        float,
        Field(ge=0, le=0.9, description="Share of foreign images that is normal here, and no drift; 0.9 at most."),
    ] = 0.0
    drain_seconds: Annotated[
        PositiveFloat,
        Field(description="Longest time from SIGTERM to the exit, in which accepted requests are answered."),
    ] = 20.0

    log_format: Annotated[Literal["json", "text"], Field(description="Form of a log line.")] = "json"
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Field(description="Least level that is logged; `warning` leaves out the line of each answered request."),
    ] = "info"

    verdict_log: Annotated[
        Path | None,
        Field(description="File for a JSON line a verdict, without pixels; each process needs one of its own."),
    ] = None
    verdict_log_share: Annotated[
        float, Field(ge=0, le=1, description="Share of requests whose verdicts are logged, told by a hash of their id.")
    ] = 1.0
    verdict_log_max_bytes: Annotated[
        int, Field(ge=2**16, description="Most bytes of one file of the verdict log; then the next is begun.")
    ] = 64 * 2**20
    verdict_log_files: Annotated[
        int, Field(ge=2, description="Most files of the verdict log, the one that is written included.")
    ] = 5
    feedback_keys_file: Annotated[
        FilePath | None,
        Field(description="File with one key a line for POST /feedback, which is not there until this is set."),
    ] = None
    feedback_log: Annotated[
        Path | None,
        Field(
            validate_default=True,
            description="File for a JSON line a label, at most 1 GiB; needed where MOS_FEEDBACK_KEYS_FILE is set.",
        ),
    ] = None
    feedback_remember: Annotated[
        PositiveInt, Field(description="Most verdicts remembered until their labels come, some 350 bytes each.")
    ] = 100_000

    @field_validator("bundle_watch_seconds")
    @classmethod
    def _leaves_the_disk_in_peace(cls, seconds: float) -> float:
        if 0 < seconds < SHORTEST_WATCH_SECONDS:
            raise ValueError(f"looks must be at least {SHORTEST_WATCH_SECONDS} s apart; 0 does without them")
        return seconds

    @field_validator("api_keys_file", "feedback_keys_file")
    @classmethod
    def _holds_keys(cls, path: Path | None) -> Path | None:
        if path is not None:
            read_api_keys(path)
        return path

    @field_validator("metrics")
    @classmethod
    def _has_keys_to_ask_for(cls, metrics: str, others: ValidationInfo) -> str:
        if metrics == "key" and others.data.get("api_keys_file") is None:
            raise ValueError("there is no key to ask for; set MOS_API_KEYS_FILE")
        return metrics

    @field_validator("feedback_log")
    @classmethod
    def _has_a_place_for_labels(cls, path: Path | None, others: ValidationInfo) -> Path | None:
        if path is None and others.data.get("feedback_keys_file") is not None:
            raise ValueError("labels will come, for MOS_FEEDBACK_KEYS_FILE is set; name the file to write them to")
        return path


def one_sentence(error: ValidationError) -> str:
    """Say which variables are wrong, how, and what they were set to, unless that may be a key in a file's place."""
    faults = []
    for fault in error.errors(include_url=False, include_context=False):
        name = f"MOS_{fault['loc'][0]}".upper() if fault["loc"] else "The settings"
        message = fault["msg"].removeprefix("Value error, ")
        value = "" if name.endswith("_KEYS_FILE") else f"={fault['input']}"
        faults.append(f"{name}{value}: {message[:1].lower()}{message[1:]}")
    return "; ".join(faults) + "."
