"""The service as `python -m service` runs it, but for what files in its folder do to ONNX Runtime while they lie there.

`engine-fault` lets every run fail, `engine-hang` lets none end.
"""

import sys
import time
from pathlib import Path
from typing import Any

import onnxruntime

from service.__main__ import main

FAULT_FILE = "engine-fault"
HANG_FILE = "engine-hang"

_run = onnxruntime.InferenceSession.run


def _run_unless_broken(session: onnxruntime.InferenceSession, *arguments: Any, **options: Any) -> Any:
    while Path(HANG_FILE).exists():
        time.sleep(0.01)
    if Path(FAULT_FILE).exists():
        raise RuntimeError("The device is gone.")
    return _run(session, *arguments, **options)


if __name__ == "__main__":
    onnxruntime.InferenceSession.run = _run_unless_broken
    sys.exit(main())
