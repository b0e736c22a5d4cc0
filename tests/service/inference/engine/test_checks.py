"""Where a session's nodes run."""

import onnxruntime
import pytest

from service.bundle import Bundle
from service.errors import ProviderError
from service.inference.engine.checks import require_placed


@pytest.fixture(scope="module")
def session(tiny_bundle: Bundle) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    return onnxruntime.InferenceSession(tiny_bundle.model_path, options, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_a_gpu_that_leaves_the_work_to_the_cpu_is_refused(session: onnxruntime.InferenceSession, provider: str) -> None:
    """A session that names a GPU first and computes its matrix products on the CPU does not serve."""
    with pytest.raises(ProviderError, match=f"runs on {provider} but computes Gemm on the CPU"):
        require_placed(session, provider)  # type: ignore[arg-type]


def test_on_the_cpu_everything_may_be_there(session: onnxruntime.InferenceSession) -> None:
    """Who asks for the CPU gets it."""
    assert require_placed(session, "cpu") is None  # type: ignore[func-returns-value]
