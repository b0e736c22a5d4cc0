"""The Kubernetes manifests as kubectl builds them."""

import os
import re
import shutil
import sys
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.sources import ROOT, run

KUBERNETES = ROOT / "deploy/kubernetes"
README = (ROOT / "deploy/README.md").read_text(encoding="utf-8")
FOLDERS = sorted(path.parent.name for path in KUBERNETES.glob("*/kustomization.yaml"))
# The installation that README.md shows, with every component.
GUARD = "guard"

Manifest = dict[str, Any]


@cache
def kubectl() -> str:
    """The path of kubectl, which the extra `dev` brings; skips where there is none for this system."""
    path = shutil.which("kubectl", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if path is None:
        pytest.skip("kubectl is not installed", allow_module_level=True)
    return path


def example(first_line: str) -> str:
    """The YAML of README.md that begins with a comment of *first_line*."""
    [text] = re.findall(rf"^```yaml\n(# {re.escape(first_line)}.*?)^```$", README, re.DOTALL | re.MULTILINE)
    return str(text)


@cache
def built(folder: str) -> list[Manifest]:
    """What `kubectl apply -k` would apply for a folder of deploy/kubernetes, or for GUARD."""
    if folder != GUARD:
        return _kustomized(KUBERNETES / folder)
    with tempfile.TemporaryDirectory() as temporary:
        (Path(temporary) / "deploy").symlink_to(ROOT / "deploy")
        overlay = Path(temporary) / GUARD
        overlay.mkdir()
        (overlay / "kustomization.yaml").write_text(example("guard/kustomization.yaml"), encoding="utf-8")
        return _kustomized(overlay)


def _kustomized(folder: Path) -> list[Manifest]:
    return list(yaml.safe_load_all(run(kubectl(), "kustomize", folder)))


def of_kind(kind: str, folder: str) -> Manifest:
    """The one manifest of a kind that *folder* makes."""
    [manifest] = [manifest for manifest in built(folder) if manifest["kind"] == kind]
    return manifest


def pods(folder: str) -> list[Manifest]:
    """Each pod that *folder* makes or lets a controller make, as `metadata` and `spec`.

    KServe's is what it makes of the two manifests: the pod of the InferenceService with the containers of its runtime.
    """
    found = []
    for manifest in built(folder):
        if manifest["kind"] in ("Deployment", "Job"):
            found.append(manifest["spec"]["template"])
        elif manifest["kind"] == "Pod":
            found.append(manifest)
        elif manifest["kind"] == "InferenceService":
            runtime = of_kind("ServingRuntime", folder)["spec"]
            spec = manifest["spec"]["predictor"] | {"containers": runtime["containers"], "volumes": runtime["volumes"]}
            found.append({"metadata": manifest["metadata"], "spec": spec})
    return found


def containers(pod: Manifest) -> list[Manifest]:
    """A pod's containers, those that run before the others included."""
    return [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]


def environment(container: Manifest) -> dict[str, str]:
    """The variables of a container that have a value here, in their order."""
    return {variable["name"]: variable["value"] for variable in container.get("env", []) if "value" in variable}
