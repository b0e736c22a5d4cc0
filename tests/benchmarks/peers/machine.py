"""Where figures were taken: the machine and the versions of what ran on it."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from pathlib import Path

FILE = "machine.json"
_PACKAGES = ("onnxruntime", "onnxruntime-gpu", "numpy", "pillow", "fastapi", "uvicorn", "litserve", "bentoml")
_VERSIONS = f"""
import importlib.metadata, json, platform
versions = {{"python": platform.python_version()}}
for name in {_PACKAGES}:
    try:
        versions[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        pass
print(json.dumps(versions))
"""


def write_machine(folder: Path, peers_python: Path) -> None:
    """Leave in *folder* what the results' reader needs to know of where they come from."""
    described = {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "system": platform.system(),
        "service": _versions(Path(sys.executable)),
        "peers": _versions(peers_python),
        # The folders' names say enough; where they lie is nobody else's concern.
        "command": " ".join(["python", *(Path(argument).name for argument in sys.orig_argv[1:])]),
    }
    (folder / FILE).write_text(json.dumps(described, indent=1) + "\n")


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


def _versions(python: Path) -> dict[str, str]:
    printed = subprocess.run([python, "-c", _VERSIONS], check=True, stdout=subprocess.PIPE, text=True).stdout
    versions: dict[str, str] = json.loads(printed)
    return versions
