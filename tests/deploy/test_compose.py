"""docker-compose.yml and its overlays, for a GPU and for traces."""

import re
import shutil
from pathlib import Path

import pytest

from service.settings import DEFAULT_BUNDLE, Settings
from tests.deploy.sources import ROOT, read_yaml, run

COMPOSE = ROOT / "docker-compose.yml"
GPU = ROOT / "deploy/compose.gpu.yml"
SERVICES = read_yaml(COMPOSE)["services"]
EXPORTER = read_yaml(GPU)["services"]["dcgm-exporter"]
TRACING = ROOT / "deploy/compose.tracing.yml"
TRACED = read_yaml(TRACING)["services"]


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_may_do_nothing_it_need_not(name: str) -> None:
    """Read-only root, no capability, no new privilege; for every container of the file."""
    assert SERVICES[name]["read_only"] is True
    assert SERVICES[name]["cap_drop"] == ["ALL"]
    assert SERVICES[name]["security_opt"] == ["no-new-privileges:true"]


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_on_loopback_unless_asked_for(name: str) -> None:
    """Nothing is reachable from another machine by default: there is no key and no password by default either."""
    for port in SERVICES[name].get("ports", []):
        assert port.startswith(("127.0.0.1:", "${BIND_ADDRESS:-127.0.0.1}:"))


@pytest.mark.parametrize(
    "image",
    [SERVICES["prometheus"]["image"], SERVICES["grafana"]["image"], EXPORTER["image"], TRACED["jaeger"]["image"]],
)
def test_images_from_elsewhere_are_pinned(image: str) -> None:
    """A tag names one version, so that two starts run the same."""
    assert re.match(r"v?\d+\.\d+\.\d+", image.partition(":")[2])


def test_the_stop_leaves_time_to_drain() -> None:
    """The engine kills only after the service has had its time, and the service uses its time up at most."""
    grace = SERVICES["service"]["stop_grace_period"]
    assert int(grace.removesuffix("s")) > SERVICES["service"]["environment"]["MOS_DRAIN_SECONDS"]


def test_every_setting_can_be_given() -> None:
    """A MOS_ variable of the shell or of .env reaches the service, but for what the container fixes."""
    fixed_by_the_image = {"MOS_HOST", "MOS_PORT"}
    needs_a_mount = {
        "MOS_API_KEYS_FILE",
        "MOS_TENSORRT_CACHE",
        "MOS_VERDICT_LOG",
        "MOS_FEEDBACK_KEYS_FILE",
        "MOS_FEEDBACK_LOG",
    }
    settings = {f"MOS_{name}".upper() for name in Settings.model_fields}
    assert SERVICES["service"]["environment"].keys() == settings - fixed_by_the_image - needs_a_mount


def test_grafana_has_no_account() -> None:
    """There is no password to guess: viewers are anonymous, on loopback, and the initial admin is not created."""
    environment = SERVICES["grafana"]["environment"]
    assert environment["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"
    assert environment["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    assert not any("PASSWORD" in name for name in environment)


def test_the_calibration_job_starts_only_when_asked() -> None:
    """`up` leaves it alone; it reads the data and writes the bundle as the caller, without a network."""
    job = SERVICES["calibrate"]
    mounts = {mount["target"]: mount for mount in job["volumes"]}
    assert job["profiles"] == ["calibrate"]
    assert job["image"] == SERVICES["service"]["image"]
    assert job["entrypoint"] == ["python", "-m", "training", "calibrate", "--bundle", "/bundle", "--data", "/data"]
    assert job["user"] == "${UID:-1000}:${GID:-1000}"
    assert mounts["/data"]["read_only"] is True
    assert not mounts["/bundle"].get("read_only", False)
    assert job["network_mode"] == "none"


def test_the_bundle_that_is_served_is_the_one_that_is_calibrated() -> None:
    """The two follow from the same variables with the same defaults, and unset they are the shipped bundle."""
    [folder] = SERVICES["service"]["volumes"]
    name = SERVICES["service"]["environment"]["MOS_BUNDLE"].removeprefix(f"{folder['target']}/")
    [bundle] = [mount for mount in SERVICES["calibrate"]["volumes"] if mount["target"] == "/bundle"]
    assert bundle["source"] == f"{folder['source']}/{name}"
    assert (ROOT / re.sub(r"\$\{\w+:-(.*?)\}", r"\1", bundle["source"])).samefile(DEFAULT_BUNDLE)


def test_a_bundle_that_is_put_in_the_place_of_another_is_seen() -> None:
    """The mount is of the folder around it: one of the bundle itself would keep the folder that was replaced."""
    [folder] = SERVICES["service"]["volumes"]
    assert folder["read_only"] is True
    assert Path(SERVICES["service"]["environment"]["MOS_BUNDLE"]).parent == Path(folder["target"])


def test_the_gpu_overlay_asks_for_a_gpu_and_for_no_fallback() -> None:
    """The GPU is reserved, the CUDA libraries are built in, and the service refuses anything else."""
    service = read_yaml(GPU)["services"]["service"]
    [device] = service["deploy"]["resources"]["reservations"]["devices"]
    assert device["capabilities"] == ["gpu"]
    assert service["build"]["args"]["EXTRAS"] == "calibrate,cuda"
    assert service["environment"]["MOS_PROVIDER"] == "cuda"
    assert service["image"] != SERVICES["service"]["image"]


def test_the_exporter_of_the_gpu_may_look_and_no_more() -> None:
    """No capability and no port outside; it sees every GPU, and profiling counters need what it does not have."""
    [device] = EXPORTER["deploy"]["resources"]["reservations"]["devices"]
    assert (device["count"], device["capabilities"]) == ("all", ["gpu"])
    assert EXPORTER["cap_drop"] == ["ALL"]
    assert EXPORTER["security_opt"] == ["no-new-privileges:true"]
    assert "cap_add" not in EXPORTER
    assert "ports" not in EXPORTER


def test_the_store_of_traces_may_do_nothing_it_need_not() -> None:
    """As every other container; and it is looked at on loopback alone."""
    jaeger = TRACED["jaeger"]
    assert (jaeger["read_only"], jaeger["cap_drop"]) == (True, ["ALL"])
    assert jaeger["security_opt"] == ["no-new-privileges:true"]
    assert all(port.startswith("127.0.0.1:") for port in jaeger["ports"])


def test_traces_go_where_they_are_kept_and_exemplars_lead_there() -> None:
    """The names in the overlay, its data sources and the series are one: a slip would be a dead link."""
    assert TRACED["service"]["environment"]["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://jaeger:4318"
    assert "--enable-feature=exemplar-storage" in TRACED["prometheus"]["command"]
    [mount] = TRACED["grafana"]["volumes"]
    file, place, _ = mount.split(":")
    provisioned = ROOT / "deploy/grafana" / Path(place).relative_to("/etc/grafana")
    [plain] = read_yaml(provisioned)["datasources"]
    prometheus, jaeger = read_yaml(ROOT / file)["datasources"]
    [destination] = prometheus["jsonData"].pop("exemplarTraceIdDestinations")
    assert prometheus == plain
    assert destination == {"name": "trace_id", "datasourceUid": jaeger["uid"]}
    assert jaeger["url"] == "http://jaeger:16686"


@pytest.mark.parametrize("files", [(COMPOSE,), (COMPOSE, GPU), (COMPOSE, TRACING)], ids=["cpu", "gpu", "tracing"])
def test_docker_compose_accepts_the_files(files) -> None:
    """Compose itself finds no fault, alone and with the overlay."""
    if shutil.which("docker-compose") is None:
        pytest.skip("docker-compose is not installed")
    arguments = [argument for file in files for argument in ("-f", file)]
    assert run("docker-compose", *arguments, "config", "--quiet") == ""
