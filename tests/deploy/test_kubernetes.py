"""The Kubernetes manifests as kubectl builds them, folder by folder and as the installation of deploy/README.md."""

import re
import tomllib
from pathlib import Path

import kubernetes_validate
import pytest
from opentelemetry.sdk import environment_variables
from pydantic_settings import SettingsConfigDict

from service.settings import Settings
from tests.deploy import prometheus_rule, schemas
from tests.deploy.manifests import FOLDERS, GUARD, KUBERNETES, Manifest, built, containers, environment, of_kind, pods
from tests.deploy.sources import ROOT, read_yaml

# The oldest that deploy/README.md promises, and the newest whose schemas are installed.
VERSIONS = ("1.30", kubernetes_validate.latest_version())
NAME = {"app.kubernetes.io/name": "mos-guard"}
# Those that make pods of the service, and the kind of manifest they make them by.
SERVING = ("base", "gpu", "kserve", GUARD)

each_folder = pytest.mark.parametrize("folder", [*FOLDERS, GUARD])
each_serving = pytest.mark.parametrize("folder", SERVING)


def service_pod(folder: str) -> Manifest:
    """The pod of the service, as `metadata` and `spec`."""
    [pod] = [pod for pod in pods(folder) if NAME.items() <= pod["metadata"]["labels"].items()]
    return pod


def service_container(folder: str) -> Manifest:
    [container] = service_pod(folder)["spec"]["containers"]
    return container


def test_every_manifest_is_listed() -> None:
    """A file that no kustomization names is never applied."""
    for kustomization in KUBERNETES.glob("**/kustomization.yaml"):
        content = read_yaml(kustomization)
        listed = {*content.get("resources", []), *(patch.get("path", "") for patch in content.get("patches", []))}
        files = {path.name for path in kustomization.parent.glob("*.yaml")} - {"kustomization.yaml"}
        assert files == {name for name in listed if name.endswith(".yaml")}


# Where spans are sent, and where the collector's name is asked for.
COLLECTOR_AND_NAMES = {4318, 53}


@each_folder
def test_every_field_is_one_that_the_published_schemas_know(folder: str) -> None:
    """Strictly, so that a misspelt field is found here and not by a server that drops it."""
    assert built(folder)
    for manifest in built(folder):
        try:
            for version in VERSIONS:
                kubernetes_validate.validate(manifest, version, strict=True)
        except kubernetes_validate.SchemaNotFoundError:
            schemas.validate(manifest)


def test_every_component_is_in_the_installation_that_is_shown() -> None:
    """So all of them are built and validated together."""
    shown = re.findall(r"kubernetes/(components/[\w-]+)$", (ROOT / "deploy/README.md").read_text("utf-8"), re.M)
    assert set(shown) == {str(path.parent.relative_to(KUBERNETES)) for path in KUBERNETES.glob("components/*/*.yaml")}


@each_folder
def test_the_pods_are_confined(folder: str) -> None:
    """They fit the restricted profile of the pod security standards, and their root file systems are read-only."""
    for pod in pods(folder):
        spec = pod["spec"]
        assert spec["automountServiceAccountToken"] is False
        # Service links would add variables that begin like the settings.
        assert spec["enableServiceLinks"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
        assert not any("hostPath" in volume for volume in spec.get("volumes", []))
        for container in containers(pod):
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert "memory" in container["resources"]["limits"]


def sends_traces(pod: Manifest) -> bool:
    variables = [variable for container in containers(pod) for variable in container.get("env", ())]
    return any(variable["name"] == "OTEL_EXPORTER_OTLP_ENDPOINT" for variable in variables)


@each_folder
def test_no_pod_is_without_a_network_policy_that_keeps_it_in(folder: str) -> None:
    """A hole in a decoder finds no way out: no pod may begin a connection, but for one's traces to their collector."""
    policies = [manifest["spec"] for manifest in built(folder) if manifest["kind"] == "NetworkPolicy"]
    for pod in pods(folder):
        [policy] = [
            policy
            for policy in policies
            if policy["podSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
        ]
        assert "Egress" in policy["policyTypes"]
        out = {port["port"] for rule in policy.get("egress", ()) for port in rule["ports"]}
        assert all(rule["to"] for rule in policy.get("egress", ()))
        assert out == (COLLECTOR_AND_NAMES if sends_traces(pod) else set())


@each_folder
def test_the_user_is_that_of_the_image(folder: str) -> None:
    """Numbers in several places that must agree: what one pod writes on a claim, the others have to read."""
    for pod in pods(folder):
        context = pod["spec"]["securityContext"]
        user = f"{context['runAsUser']}:{context['runAsGroup']}"
        assert f"\nUSER {user}\n" in (ROOT / "Dockerfile").read_text(encoding="utf-8")
        assert context["fsGroup"] == context["runAsGroup"]


@each_folder
def test_the_image_is_that_of_the_project(folder: str) -> None:
    """The tags name the version that pyproject.toml has."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    images = {container["image"] for pod in pods(folder) for container in containers(pod)}
    names = {"gpu": f"mos-guard:{version}-gpu", GUARD: f"registry.example/mos-guard:{version}"}
    assert images <= {names.get(folder, f"mos-guard:{version}")}


@each_serving
def test_the_probes_ask_the_right_question(folder: str) -> None:
    """Liveness restarts, so it asks whether the process lives; readiness and start ask whether it can judge."""
    container = service_container(folder)
    paths = {kind: container[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "readiness", "liveness")}
    prefix = "/v2" if folder == "kserve" else ""
    ready, live = f"{prefix}/health/ready", f"{prefix}/health/live"
    assert paths == {"startup": ready, "readiness": ready, "liveness": live}
    assert container["startupProbe"]["failureThreshold"] * container["startupProbe"]["periodSeconds"] >= 120
    assert {container[f"{kind}Probe"]["httpGet"]["port"] for kind in ("startup", "readiness", "liveness")} == {"http"}


def test_liveness_gives_the_engine_time_to_come_back() -> None:
    """A restart costs more than a failed batch: the canaries are judged several times before it."""
    settings = Settings(_env_file=None)  # type: ignore[call-arg]
    assert settings.engine_grace_seconds >= 5 * settings.canary_interval_seconds


@each_serving
def test_the_pod_has_time_to_drain(folder: str) -> None:
    """The wait for the nodes and the drain both fit before the kill."""
    container = service_container(folder)
    wait = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    drain = int(environment(container)["MOS_DRAIN_SECONDS"])
    assert service_pod(folder)["spec"]["terminationGracePeriodSeconds"] > wait + drain


@each_serving
def test_the_variables_are_settings_with_values_that_it_takes(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A misspelt variable would be ignored without a word, and a wrong value would end the pod."""
    given = environment(service_container(folder))
    of_traces = {name for name in given if name.startswith("OTEL_")}
    assert all(hasattr(environment_variables, name) for name in of_traces)
    assert given.keys() - of_traces <= {f"MOS_{name}".upper() for name in Settings.model_fields}
    for name, value in given.items():
        if not name.endswith("_KEYS_FILE"):  # the files are in the pod alone
            monkeypatch.setenv(name, value)

    class Given(Settings):
        model_config = SettingsConfigDict(env_file=None)

    assert Given().drain_seconds == int(given["MOS_DRAIN_SECONDS"])


@each_folder
def test_what_a_variable_names_lies_on_a_mount(folder: str) -> None:
    """A file that is written has a volume that may be written; what is only read has one that may not."""
    for pod in pods(folder):
        for container in containers(pod):
            mounts = {mount["mountPath"]: mount for mount in container.get("volumeMounts", [])}
            if folder == "kserve":  # mounts it there, read-only unless told otherwise
                mounts["/mnt/models"] = {"readOnly": True}
            for name, value in environment(container).items():
                if value.startswith("/"):
                    mount = mounts[next(path for path in mounts if Path(value).is_relative_to(path))]
                    assert mount.get("readOnly", False) is not name.endswith("_LOG"), name


def test_each_log_belongs_to_one_pod() -> None:
    """Two processes that were given one file would not start; the pod's name is known before it is used."""
    variables = [variable["name"] for variable in service_container(GUARD)["env"]]
    given = environment(service_container(GUARD))
    for name in ("MOS_VERDICT_LOG", "MOS_FEEDBACK_LOG"):
        assert Path(given[name]).name.startswith("$(POD_NAME).")
        assert variables.index("POD_NAME") < variables.index(name)


@pytest.mark.parametrize("folder", [GUARD, "shell", "calibration"])
def test_every_claim_is_made_here(folder: str) -> None:
    """A pod whose claim is nowhere waits for ever."""
    made = {
        manifest["metadata"]["name"]
        for manifest in [*built("volumes"), *built(GUARD)]
        if manifest["kind"] == "PersistentVolumeClaim"
    }
    volumes = [volume for pod in pods(folder) for volume in pod["spec"]["volumes"]]
    asked = {volume["persistentVolumeClaim"]["claimName"] for volume in volumes if "persistentVolumeClaim" in volume}
    assert asked
    assert asked <= made


@each_serving
def test_everything_selects_the_pods(folder: str) -> None:
    """Service, disruption budget and spread mean the pods of the service."""
    labels = service_pod(folder)["metadata"]["labels"].items()
    [spread] = service_pod(folder)["spec"]["topologySpreadConstraints"]
    assert spread["labelSelector"]["matchLabels"].items() <= labels
    assert of_kind("PodDisruptionBudget", folder)["spec"]["selector"]["matchLabels"].items() <= labels
    if folder != "kserve":
        assert of_kind("Service", folder)["spec"]["selector"].items() <= labels


@pytest.mark.parametrize("folder", ["shell", "calibration"])
def test_no_picture_is_sent_to_a_pod_that_does_not_serve(folder: str) -> None:
    """The Service selects by name, so these have another one."""
    selector = of_kind("Service", "base")["spec"]["selector"]
    for pod in pods(folder):
        assert not selector.items() <= pod["metadata"]["labels"].items()


def test_kserve_runs_the_container_of_the_base() -> None:
    """KServe cannot take it from there: what is measured and thought about once is the same in both."""
    base, kserve = service_container("base"), service_container("kserve")
    for field in ("image", "resources", "lifecycle", "securityContext", "volumeMounts"):
        assert kserve[field] == base[field]
    assert environment(base).items() <= environment(kserve).items()
    base_pod, kserve_pod = service_pod("base")["spec"], service_pod("kserve")["spec"]
    for field in ("securityContext", "terminationGracePeriodSeconds", "topologySpreadConstraints", "volumes"):
        assert kserve_pod[field] == base_pod[field]


def test_kserve_serves_by_the_open_inference_protocol() -> None:
    """The InferenceService asks for a runtime, a format and a protocol that the ServingRuntime has."""
    runtime, model = (
        of_kind("ServingRuntime", "kserve"),
        of_kind("InferenceService", "kserve")["spec"]["predictor"]["model"],
    )
    assert model["runtime"] == runtime["metadata"]["name"]
    assert model["modelFormat"]["name"] in [known["name"] for known in runtime["spec"]["supportedModelFormats"]]
    assert [model["protocolVersion"]] == runtime["spec"]["protocolVersions"] == ["v2"]
    [container] = runtime["spec"]["containers"]
    assert container["name"] == "kserve-container"
    claim, _, folder = model["storageUri"].removeprefix("pvc://").partition("/")
    assert claim in [manifest["metadata"]["name"] for manifest in built("volumes")]
    assert folder == Path(environment(service_container(GUARD))["MOS_BUNDLE"]).name


def test_the_job_calibrates_the_bundle_that_is_served() -> None:
    """By the path and on the claim that the service has."""
    [job], serving = pods("calibration"), service_pod(GUARD)
    [calibrate] = job["spec"]["containers"]
    command = calibrate["command"]
    assert command[:4] == ["python", "-m", "training", "calibrate"]
    assert command[command.index("--bundle") + 1] == environment(service_container(GUARD))["MOS_BUNDLE"]
    bundles = [[volume for volume in pod["spec"]["volumes"] if volume["name"] == "bundles"] for pod in (job, serving)]
    assert bundles[0] == bundles[1]


def test_the_gpu_overlay_asks_for_a_gpu_and_for_no_fallback() -> None:
    """A replica is a GPU, and one is ended before the next is begun."""
    container = service_container("gpu")
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert environment(container)["MOS_PROVIDER"] == "cuda"
    assert of_kind("Deployment", "gpu")["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}


def test_the_rules_of_the_operator_are_those_of_compose() -> None:
    """`python -m tests.deploy.prometheus_rule` writes them anew."""
    assert prometheus_rule.PATH.read_text(encoding="utf-8") == prometheus_rule.manifest()
    groups = [group for path in prometheus_rule.RULES for group in read_yaml(path)["groups"]]
    assert read_yaml(prometheus_rule.PATH)["spec"] == {"groups": groups}


@pytest.mark.parametrize("folder", [GUARD, "kserve"])
def test_the_monitor_finds_the_service_under_the_job_that_the_alerts_select(folder: str) -> None:
    """KServe's Service has the labels of the InferenceService and names its port like the container's."""
    monitor = of_kind("ServiceMonitor", GUARD)["spec"]
    [endpoint] = monitor["endpoints"]
    if folder == "kserve":
        labels = of_kind("InferenceService", folder)["metadata"]["labels"]
        ports = service_container(folder)["ports"]
    else:
        labels = of_kind("Service", folder)["metadata"]["labels"]
        ports = of_kind("Service", folder)["spec"]["ports"]
    assert monitor["selector"]["matchLabels"].items() <= labels.items()
    assert labels[monitor["jobLabel"]] == "mos-guard"
    assert endpoint["port"] in [port["name"] for port in ports]


def test_the_dashboards_are_in_a_config_map() -> None:
    """As they are for compose, under the label that Grafana's sidecar looks for."""
    dashboards = of_kind("ConfigMap", GUARD)
    assert dashboards["metadata"]["labels"]["grafana_dashboard"] == "1"
    files = {
        path.name: path.read_text(encoding="utf-8") for path in (ROOT / "deploy/grafana/dashboards").glob("*.json")
    }
    assert dashboards["data"] == files
