"""Host memory that a CUDA device reads without a copy in between.

ONNX Runtime's Python interface gives out none: it knows device types, and pinned memory is not one of them. So an
ordinary array is registered with the CUDA runtime that ONNX Runtime has loaded.
"""

import ctypes
import logging
import os
import weakref

import numpy as np
import onnxruntime
from numpy.typing import NDArray

_log = logging.getLogger(__name__)


def pinned(shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return zeros whose pages are locked; where CUDA is not to be had they are ordinary ones, and the log says so."""
    array = np.zeros(shape, np.uint8)
    address = ctypes.c_void_p(array.ctypes.data)
    try:
        runtime = ctypes.CDLL(_cuda_runtime())
        failed = runtime.cudaHostRegister(address, ctypes.c_size_t(array.nbytes), ctypes.c_uint(0)) != 0
    except (OSError, AttributeError):
        failed = True
    if failed:
        _log.warning("Host memory could not be pinned; copies to the device are slower.")
    else:
        # Before the array's memory is freed: the driver would keep its lock on pages that are somebody else's by then.
        weakref.finalize(array, runtime.cudaHostUnregister, address)
    return array


def _cuda_runtime() -> str:
    major = onnxruntime.cuda_version.partition(".")[0]
    return f"cudart64_{major}.dll" if os.name == "nt" else f"libcudart.so.{major}"
