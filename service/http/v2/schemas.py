"""The shapes of the protocol's requests and answers; what they do not name is tolerated and not looked at."""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue

INPUT = "images"

REQUEST_EXAMPLE: dict[str, Any] = {
    "id": "42",
    "inputs": [{"name": INPUT, "datatype": "BYTES", "shape": [1], "data": ["/9j/4AAQSkZJRg..."]}],
    "outputs": [{"name": "label"}, {"name": "decision"}, {"name": "score"}],
}
BINARY_REQUEST_EXAMPLE: dict[str, Any] = {
    "inputs": [
        {"name": INPUT, "datatype": "UINT8", "shape": [2, 32, 32, 3], "parameters": {"binary_data_size": 6144}},
    ],
    "parameters": {"binary_data_output": True},
}
ANSWER_EXAMPLE: dict[str, Any] = {
    "model_name": "cifar100-bit",
    "model_version": "1",
    "id": "42",
    "parameters": {"request_id": "5f0c8d5a4c0b4a6f9a1de3c2b7f80e11", "decided_by": "mos"},
    "outputs": [
        {"name": "label", "datatype": "BYTES", "shape": [1], "data": ["apple"]},
        {"name": "decision", "datatype": "BYTES", "shape": [1], "data": ["in"]},
        {"name": "score", "datatype": "FP32", "shape": [1], "data": [-0.012]},
    ],
}
SERVER_EXAMPLE: dict[str, Any] = {"name": "mos-guard", "version": "1", "extensions": ["binary_tensor_data"]}
MODEL_EXAMPLE: dict[str, Any] = {
    "name": "cifar100-bit",
    "versions": ["1"],
    "platform": "onnxruntime_onnx",
    "inputs": [{"name": INPUT, "datatype": "UINT8", "shape": [-1, 32, 32, 3]}],
    "outputs": [
        {"name": "decision", "datatype": "BYTES", "shape": [-1]},
        {"name": "others_scores", "datatype": "FP32", "shape": [-1, 20]},
    ],
}
MODEL_READY_EXAMPLE: dict[str, Any] = {"name": "cifar100-bit", "ready": True}

# Of what a request may list: each wrong entry would be an error with its own place and text, in one turn of the loop.
MAX_ENTRIES = 64
Size = Annotated[int, Field(ge=0, lt=2**63)]
Shape = Annotated[list[Size], Field(max_length=MAX_ENTRIES)]
# Clients that write every field they know send null for what is not there.
Parameters = Annotated[dict[str, JsonValue], BeforeValidator(lambda given: {} if given is None else given)]


class RequestedInput(BaseModel):
    """An input tensor; its elements are in `data`, or behind the JSON where `binary_data_size` is a parameter."""

    name: str
    shape: Shape
    datatype: str
    parameters: Parameters = {}
    data: Any = None

    @property
    def binary_data_size(self) -> JsonValue:
        """What the parameter of this name says, None where there is none."""
        return self.parameters.get("binary_data_size")


class RequestedOutput(BaseModel):
    """An output tensor that is asked for."""

    name: str
    parameters: Parameters = {}


class InferRequest(BaseModel):
    """What `infer` is asked."""

    model_config = ConfigDict(json_schema_extra={"examples": [REQUEST_EXAMPLE]})

    id: str | None = None
    parameters: Parameters = {}
    inputs: Annotated[list[RequestedInput], Field(max_length=MAX_ENTRIES)]
    outputs: Annotated[
        list[RequestedOutput],
        Field(max_length=MAX_ENTRIES),
        BeforeValidator(lambda given: [] if given is None else given),
    ] = []


class TensorDescription(BaseModel):
    """A tensor's name, type and shape; -1 is the number of images."""

    name: str
    datatype: str
    shape: list[int]


class AnsweredOutput(TensorDescription):
    """An output tensor, its elements in row-major order, or behind the JSON where `binary_data_size` is a parameter."""

    parameters: dict[str, JsonValue] = {}
    data: list[int | float | str] | None = None


class InferAnswer(BaseModel):
    """What `infer` answers."""

    model_name: str
    model_version: str
    id: Annotated[str | None, Field(description="That of the request, where it has one.")] = None
    parameters: Annotated[
        dict[str, JsonValue], Field(description="`request_id`, for /feedback and logs, and `decided_by`.")
    ]
    outputs: list[AnsweredOutput]


class Error(BaseModel):
    """What went wrong, in one sentence."""

    model_config = ConfigDict(extra="forbid")

    error: str


class Server(BaseModel):
    """The server's metadata."""

    name: str
    version: str
    extensions: list[str]


class Model(BaseModel):
    """The model's metadata."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorDescription]
    outputs: list[TensorDescription]


class Live(BaseModel):
    """The process runs."""

    live: bool


class Ready(BaseModel):
    """Verdicts are given."""

    ready: bool


class ModelReady(Ready):
    """Verdicts are given by this model."""

    name: str
