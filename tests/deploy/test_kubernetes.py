"""The Kubernetes manifests, as files and as kustomize builds them."""

import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.settings import Settings
from tests.deploy.sources import ROOT, known_series, read_yaml, run

KUBERNETES = ROOT / "deploy/kubernetes"
BASE = KUBERNETES / "base"
DEPLOYMENT = read_yaml(BASE / "deployment.yaml")
POD = DEPLOYMENT["spec"]["template"]["spec"]
[CONTAINER] = POD["containers"]
NAME = {"app.kubernetes.io/name": "mos-guard"}


def test_every_manifest_is_listed() -> None:
    """A file that no kustomization names is never applied."""
    for kustomization in KUBERNETES.glob("*/kustomization.yaml"):
        content = read_yaml(kustomization)
        listed = {*content.get("resources", []), *(patch["path"] for patch in content.get("patches", []))}
        files = {path.name for path in kustomization.parent.glob("*.yaml")} - {"kustomization.yaml"}
        assert files == {name for name in listed if name.endswith(".yaml")}


def test_the_probes_ask_the_right_question() -> None:
    """Liveness restarts, so it asks whether the process lives; readiness and start ask whether it can judge."""
    paths = {kind: CONTAINER[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "readiness", "liveness")}
    assert paths == {"startup": "/health/ready", "readiness": "/health/ready", "liveness": "/health/live"}
    assert CONTAINER["startupProbe"]["failureThreshold"] * CONTAINER["startupProbe"]["periodSeconds"] >= 120


def test_liveness_gives_the_engine_time_to_come_back() -> None:
    """A restart costs more than a failed batch: the canaries are judged several times before it."""
    settings = Settings(_env_file=None)  # type: ignore[call-arg]
    assert settings.engine_grace_seconds >= 5 * settings.canary_interval_seconds


def test_the_container_is_confined() -> None:
    """It fits the restricted profile of the pod security standards, and its root file system is read-only."""
    assert CONTAINER["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert POD["securityContext"]["runAsNonRoot"] is True
    assert POD["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert POD["automountServiceAccountToken"] is False
    assert CONTAINER["volumeMounts"] == [{"name": "tmp", "mountPath": "/tmp"}]


def test_the_user_is_that_of_the_image() -> None:
    """Numbers in two places that must agree."""
    user = f"{POD['securityContext']['runAsUser']}:{POD['securityContext']['runAsGroup']}"
    assert f"\nUSER {user}\n" in (ROOT / "Dockerfile").read_text(encoding="utf-8")


def test_the_image_is_that_of_the_project() -> None:
    """The tags name the version that pyproject.toml has."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
    [gpu_image] = read_yaml(KUBERNETES / "gpu/kustomization.yaml")["images"]
    assert CONTAINER["image"] == f"mos-guard:{version}"
    assert gpu_image == {"name": "mos-guard", "newTag": f"{version}-gpu"}


def test_the_pod_has_time_to_drain() -> None:
    """preStop and the drain both fit before the kill."""
    environment = {variable["name"]: variable["value"] for variable in CONTAINER["env"]}
    wait = int(CONTAINER["lifecycle"]["preStop"]["exec"]["command"][1])
    assert POD["terminationGracePeriodSeconds"] > wait + int(environment["MOS_DRAIN_SECONDS"])


@pytest.mark.parametrize("path", [BASE / "deployment.yaml", KUBERNETES / "gpu/deployment.yaml"], ids=["base", "gpu"])
def test_the_variables_are_settings(path: Path) -> None:
    """A misspelt variable would be ignored without a word."""
    [container] = read_yaml(path)["spec"]["template"]["spec"]["containers"]
    settings = {f"MOS_{name}".upper() for name in Settings.model_fields}
    assert {variable["name"] for variable in container["env"]} <= settings


def test_everything_selects_the_pods() -> None:
    """Service, disruption budget, network policy and monitor mean the pods of the deployment."""
    selectors: dict[str, Any] = {
        "service": read_yaml(BASE / "service.yaml")["spec"]["selector"],
        "pdb": read_yaml(BASE / "pdb.yaml")["spec"]["selector"]["matchLabels"],
        "networkpolicy": read_yaml(BASE / "networkpolicy.yaml")["spec"]["podSelector"]["matchLabels"],
        "deployment": DEPLOYMENT["spec"]["selector"]["matchLabels"],
        "pods": DEPLOYMENT["spec"]["template"]["metadata"]["labels"],
        "monitor": read_yaml(KUBERNETES / "prometheus-operator/servicemonitor.yaml")["spec"]["selector"]["matchLabels"],
    }
    assert all(selector == NAME for selector in selectors.values())


def test_the_autoscaler_reads_a_series_that_exists() -> None:
    """The GPU overlay scales on the service's own queue."""
    [metric] = read_yaml(KUBERNETES / "gpu/hpa.yaml")["spec"]["metrics"]
    assert metric["pods"]["metric"]["name"] in known_series()


@pytest.mark.parametrize("overlay", ["base", "gpu"])
def test_kustomize_builds_it(overlay: str) -> None:
    """kubectl would apply a deployment, a service, an autoscaler, a disruption budget and a network policy."""
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl is not installed")
    built = list(yaml.safe_load_all(run("kubectl", "kustomize", KUBERNETES / overlay)))
    kinds = {"Deployment", "HorizontalPodAutoscaler", "NetworkPolicy", "PodDisruptionBudget", "Service"}
    assert {manifest["kind"] for manifest in built} == kinds
