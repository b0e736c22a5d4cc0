"""The volume of deploy/kubernetes, with real processes: the pods' own commands, in folders of this machine."""

import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from service.bundle import read_bundle
from tests.contract.test_reload import wait_for
from tests.deploy.manifests import GUARD, README, environment, pods
from tests.server_process import ROOT, running_server
from tests.server_process import environment as environment_of_a_process
from tests.tiny_bundle import CLASSES, png, write_tiny_bundle

pytestmark = pytest.mark.e2e

[SERVING], [CALIBRATION] = pods(GUARD), pods("calibration")
[FIRST_BUNDLE] = SERVING["spec"]["initContainers"]
[TURN] = re.findall(r"^\$ kubectl exec mos-guard-shell -- sh -c '(.*)'$", README, re.M)


@dataclass
class Volumes:
    """Where the paths of the pods are on this machine."""

    folder: Path

    def here(self, text: str) -> str:
        for path in ("/bundles", "/pictures", "/app/service/default_bundle"):
            text = text.replace(path, f"{self.folder}{path}")
        return text

    @property
    def bundles(self) -> Path:
        return self.folder / "bundles"

    def run(self, command: list[str], pod: str) -> None:
        """Run *command* as a pod of that name would."""
        command = [sys.executable if word == "python" else self.here(word) for word in command]
        variables = environment_of_a_process({}) | {"PYTHONPATH": str(ROOT), "HOSTNAME": pod}
        subprocess.run(command, env=variables, check=True, capture_output=True, timeout=120)

    def start_pod(self, pod: str) -> None:
        self.run([*FIRST_BUNDLE["command"], *FIRST_BUNDLE["args"]], pod)


@pytest.fixture
def volumes(tmp_path: Path) -> Volumes:
    """Empty claims, and an image that ships the tiny bundle."""
    for name in ("bundles", "pictures/calibration"):
        (tmp_path / name).mkdir(parents=True)
    write_tiny_bundle(tmp_path / "app/service/default_bundle", version="1")
    return Volumes(tmp_path)


def test_pods_that_start_together_leave_one_whole_bundle(volumes: Volumes) -> None:
    """None fails because another was first, and no draft is left."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(volumes.start_pod, (f"mos-guard-{number}" for number in range(8))))
    assert {path.name for path in volumes.bundles.iterdir()} == {"shipped", "served"}
    assert read_bundle(volumes.bundles / "served").manifest.version == "1"


def test_a_pod_that_starts_later_leaves_what_is_served(volumes: Volumes) -> None:
    """The image's bundle is for an empty claim alone."""
    write_tiny_bundle(volumes.bundles / "served", version="2")
    volumes.start_pod("mos-guard-1")
    assert read_bundle(volumes.bundles / "served").manifest.version == "2"
    assert {path.name for path in volumes.bundles.iterdir()} == {"served"}


def test_a_turned_link_and_a_calibration_job_are_taken_into_service(volumes: Volumes) -> None:
    """As deploy/README.md says it: the first bundle, then another one, then its calibration; without a restart."""
    [container] = SERVING["spec"]["containers"]
    bundle = volumes.here(environment(container)["MOS_BUNDLE"])
    random = np.random.default_rng(0)
    colors = [tuple(round(20 + 215 * channel) for channel in color) for color in CLASSES.values()]
    for number in range(60):
        shade = np.clip(np.array(colors[number % len(colors)]) + random.integers(-20, 20, 3), 0, 255)
        (volumes.folder / f"pictures/calibration/{number}.png").write_bytes(png(tuple(shade.tolist())))
    volumes.start_pod("mos-guard-1")
    with running_server(volumes.folder, bundle=bundle, bundle_watch_seconds=0.1) as server:
        server.wait_until_ready()
        write_tiny_bundle(volumes.bundles / "mine-2", version="2")
        volumes.run(["sh", "-c", TURN], "mos-guard-shell")
        wait_for(server, "swapped", 1)
        before = server.metric("mos_threshold")
        [job] = CALIBRATION["spec"]["containers"]
        volumes.run([*job["command"], *job["args"]], "mos-guard-calibration-1")
        wait_for(server, "swapped", 2)
        assert server.metric("mos_threshold") != before
    assert Path(bundle).readlink() == Path("mine-2")
