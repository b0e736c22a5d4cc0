"""What Kubernetes and compose make of the commands of deploy/README.md, as far as they go without a cluster."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.deploy.manifests import FOLDERS, GUARD, README, built, example, kubectl
from tests.deploy.sources import ROOT, read_yaml, run

LINES = [line for block in re.findall(r"^```console\n(.*?)^```$", README, re.S | re.M) for line in block.splitlines()]
COMMANDS = [
    shlex.split(command, comments=True)
    for line in LINES
    for command in re.split(r" (?:&&|\|) (?=kubectl|openssl|mos-guard|docker|tar)", line.removeprefix("$ "))
]
KUBECTL = [command[1:] for command in COMMANDS if command[0] == "kubectl"]
LONGER_VERBS = [
    ["create", "secret", "generic"],
    ["create", "namespace"],
    ["config", "set-context"],
    ["rollout", "status"],
    ["rollout", "undo"],
]


def test_the_commands_are_found() -> None:
    """What follows stands on this reading of the document."""
    assert all(line.startswith("$ ") for line in LINES)
    assert len(KUBECTL) > 20


@pytest.mark.parametrize("command", KUBECTL, ids=lambda command: " ".join(command)[:60])
def test_kubectl_knows_the_command_and_its_flags(command: list[str]) -> None:
    """By its own help; what is applied is built, too."""
    own = command[: command.index("--")] if "--" in command else command
    depth = next((len(verb) for verb in LONGER_VERBS if own[: len(verb)] == verb), 1)
    usage = run(kubectl(), *own[:depth], "--help") + run(kubectl(), "options")
    for flag in (word.partition("=")[0] for word in own if re.match("-.", word)):
        assert re.search(rf"(?<![\w-]){flag}\b", usage), flag
    if "-k" in own:
        folder = own[own.index("-k") + 1]
        assert folder.removeprefix("deploy/kubernetes/") in FOLDERS or folder == GUARD
        assert built(folder.rpartition("/")[2])


def test_what_kubectl_is_to_look_at_is_made() -> None:
    """Each TYPE/NAME of the commands is in the manifests."""
    kinds = {"svc": "Service", "inferenceservice": "InferenceService"}
    manifests = [manifest for folder in [*FOLDERS, GUARD] for manifest in built(folder)]
    made = {(manifest["kind"], manifest["metadata"]["name"]) for manifest in manifests}
    named = {tuple(name.split("/")) for command in KUBECTL for name in command if re.fullmatch(r"[a-z]+/mos-\S+", name)}
    assert len(named) > 4
    assert {(kinds.get(kind, kind.capitalize()), name) for kind, name in named} <= made


def test_the_secrets_are_those_that_the_pods_mount(tmp_path: Path) -> None:
    """kubectl makes them from one key a line, under the entry that the settings name."""
    mounted = {
        volume["secret"]["secretName"]
        for manifest in built(GUARD)
        if manifest["kind"] == "Deployment"
        for volume in manifest["spec"]["template"]["spec"]["volumes"]
        if "secret" in volume
    }
    created = [command for command in KUBECTL if command[:3] == ["create", "secret", "generic"]]
    assert {command[3] for command in created} == mounted
    for name in ("keys.txt", "feedback-keys.txt"):
        (tmp_path / name).write_text("0123456789abcdef\n")
    for command in created:
        command = [*command, *(["--dry-run=client", "-o", "yaml"] if "--dry-run=client" not in command else [])]
        made = subprocess.run([kubectl(), *command], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
        assert re.search(r"^data:\n  keys: ", made, re.M)


def test_compose_has_the_services_that_are_run() -> None:
    """`run` names one; the override changes one."""
    services = read_yaml(ROOT / "docker-compose.yml")["services"]
    assert set(re.findall(r"docker compose run --rm (\w+)", README)) == {"calibrate"} <= services.keys()
    assert "\nservices:\n  service:\n" in example("docker-compose.override.yml")
