"""The service as `python -m service` runs it, but ONNX Runtime fails while a file `engine-fault` lies in its folder."""

import sys
from pathlib import Path
from typing import Any

import onnxruntime

from service.__main__ import main

FAULT_FILE = "engine-fault"

_run = onnxruntime.InferenceSession.run


def _run_unless_broken(session: onnxruntime.InferenceSession, *arguments: Any, **options: Any) -> Any:
    if Path(FAULT_FILE).exists():
        raise RuntimeError("The device is gone.")
    return _run(session, *arguments, **options)


if __name__ == "__main__":
    onnxruntime.InferenceSession.run = _run_unless_broken
    sys.exit(main())
