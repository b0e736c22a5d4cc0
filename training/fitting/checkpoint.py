"""A run's own state on disk.

Everything is written to a temporary name and renamed, and read without pickle's code execution (`weights_only`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from training.errors import CheckpointError
from training.files import replacing


def save(state: Mapping[str, Any], file: Path) -> None:
    """Write a checkpoint whole or not at all. Raises DataError where there is no room."""
    with replacing(file) as draft:
        try:
            torch.save(dict(state), draft)
        except RuntimeError as error:  # how torch's writer tells of a full disk
            raise OSError(f"torch says {str(error).splitlines()[0]}") from error


def load(file: Path) -> dict[str, Any]:
    """Read what `save` wrote. Raises CheckpointError for a missing or damaged file."""
    try:
        state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise CheckpointError(f"There is no checkpoint {file}; name the folder of a finished run.") from error
    except Exception as error:  # torch.load raises whatever the damaged bytes lead to
        raise CheckpointError(
            f"The checkpoint {file} cannot be read; it is damaged or no checkpoint. Train again."
        ) from error
    return state
