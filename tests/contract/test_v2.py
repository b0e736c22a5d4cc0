"""NVIDIA's own client, unmodified, against a real server process."""

import base64
from collections.abc import Iterator

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
import tritonclient.http.aio as triton_aio
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException

from service.preprocess import decode
from tests.server_process import ServerProcess, running_server
from tests.tiny_bundle import SIZE_PIXELS, png, write_tiny_bundle

pytestmark = pytest.mark.e2e

RED, GREY = png((235, 20, 20)), png((128, 128, 128))
MODEL = "tiny"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("v2")
    with running_server(folder, bundle=write_tiny_bundle(folder / "bundle").path, max_files=8) as server:
        server.wait_until_ready()
        yield server


@pytest.fixture
def client(server: ServerProcess) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(f"127.0.0.1:{server.port}") as client:
        yield client


def encoded(*images: bytes, column: bool = False) -> triton.InferInput:
    """Return the input of encoded images, (N,) or (N, 1)."""
    array = np.array(images, np.object_)
    array = array[:, None] if column else array
    tensor = triton.InferInput("images", list(array.shape), "BYTES")
    return tensor.set_data_from_numpy(array)


def pixels_of(*images: bytes) -> NDArray[np.uint8]:
    return np.stack([decode(image, height=SIZE_PIXELS, width=SIZE_PIXELS) for image in images])


def pixels(*images: bytes, binary: bool = True) -> triton.InferInput:
    array = pixels_of(*images)
    tensor = triton.InferInput("images", list(array.shape), "UINT8")
    return tensor.set_data_from_numpy(array, binary_data=binary)


def texts(result: triton.InferResult, name: str) -> list[str]:
    array = result.as_numpy(name)
    assert array is not None
    return [item.decode() if isinstance(item, bytes) else item for item in array.tolist()]


def test_the_client_sees_the_server_and_the_model(client: triton.InferenceServerClient) -> None:
    """Live, ready, metadata: all that a client asks before it sends anything."""
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready(MODEL)
    assert client.is_model_ready(MODEL, "1")
    assert not client.is_model_ready("another")
    assert not client.is_model_ready(MODEL, "2")
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    metadata = client.get_model_metadata(MODEL, "1")
    assert metadata["inputs"] == [{"name": "images", "datatype": "UINT8", "shape": [-1, SIZE_PIXELS, SIZE_PIXELS, 3]}]


@pytest.mark.parametrize("column", [False, True], ids=["[N]", "[N, 1]"])
def test_encoded_pictures_are_judged(client: triton.InferenceServerClient, column: bool) -> None:
    """Each in its own row, every output of the metadata in its type and shape, and the id comes back."""
    result = client.infer(MODEL, [encoded(RED, GREY, RED, column=column)], request_id="my id")
    assert texts(result, "decision") == ["in", "out", "in"]
    assert texts(result, "label")[0] == "red"
    answer = result.get_response()
    assert (answer["id"], answer["model_name"], answer["model_version"]) == ("my id", MODEL, "1")
    for output in client.get_model_metadata(MODEL)["outputs"]:
        array = result.as_numpy(output["name"])
        assert list(array.shape) == [3, *output["shape"][1:]]
        assert result.get_output(output["name"])["datatype"] == output["datatype"]
    accepted = result.as_numpy("score") >= result.as_numpy("threshold")
    assert accepted.tolist() == [True, False, True]


@pytest.mark.parametrize("binary", [True, False], ids=["binary", "JSON"])
def test_pixels_get_the_verdict_of_their_picture(
    server: ServerProcess, client: triton.InferenceServerClient, binary: bool
) -> None:
    """Decoded and resized as the service does it, they are judged as /predict judges the encoded picture."""
    outputs = [triton.InferRequestedOutput(name, binary_data=binary) for name in ("score", "p_value", "decision")]
    result = client.infer(MODEL, [pixels(RED, GREY, binary=binary)], outputs=outputs)
    native = [httpx.post(f"{server.url}/predict", content=image, timeout=60).json() for image in (RED, GREY)]
    assert result.as_numpy("p_value").tolist() == [verdict["p_value"] for verdict in native]
    assert result.as_numpy("score").tolist() == pytest.approx([verdict["score"] for verdict in native], abs=1e-5)
    assert texts(result, "decision") == ["in", "out"]
    assert result.as_numpy("label") is None, "it was not asked for"


def test_json_and_binary_say_the_same(client: triton.InferenceServerClient) -> None:
    """Not one bit of a number is lost on either way."""
    names = [output["name"] for output in client.get_model_metadata(MODEL)["outputs"]]
    results = [
        client.infer(
            MODEL,
            [encoded(RED, GREY)],
            outputs=[triton.InferRequestedOutput(name, binary_data=binary) for name in names],
        )
        for binary in (True, False)
    ]
    for name in names:
        if results[0].get_output(name)["datatype"] == "BYTES":
            flat = [result.as_numpy(name).reshape(-1).tolist() for result in results]
            assert [text.decode() for text in flat[0]] == flat[1]
        else:
            np.testing.assert_array_equal(*(result.as_numpy(name) for result in results))


def test_many_at_once_without_waiting(client: triton.InferenceServerClient) -> None:
    """Requests of the asynchronous kind get each its own answer."""
    waiting = [client.async_infer(MODEL, [encoded(image)], request_id=str(i)) for i, image in enumerate([RED, GREY])]
    results = [request.get_result() for request in waiting]
    assert [result.get_response()["id"] for result in results] == ["0", "1"]
    assert [texts(result, "decision") for result in results] == [["in"], ["out"]]


@pytest.mark.parametrize(
    ("model", "version", "tensor", "status", "words"),
    [
        ("another", "", encoded(RED), "404", "tiny, version 1"),
        (MODEL, "7", encoded(RED), "404", "tiny, version 1"),
        (MODEL, "", encoded(RED, b"no picture"), "415", "Image 1: "),
        (MODEL, "", encoded(RED, RED[:-30], b""), "400", "Image 1: "),
        (MODEL, "", encoded(*[RED] * 9), "413", "at most 8"),
    ],
    ids=["model", "version", "no picture", "truncated", "too many"],
)
def test_errors_are_the_protocols(
    client: triton.InferenceServerClient,
    model: str,
    version: str,
    tensor: triton.InferInput,
    status: str,
    words: str,
) -> None:
    """The client finds the sentence and the status of the native table."""
    with pytest.raises(InferenceServerException) as failure:
        client.infer(model, [tensor], model_version=version)
    assert failure.value.status() == status
    assert words in failure.value.message()


def test_a_tensor_of_another_size_is_refused_with_the_right_one(client: triton.InferenceServerClient) -> None:
    """Nothing resizes pixels in silence."""
    tensor = triton.InferInput("images", [1, 4, 4, 3], "UINT8").set_data_from_numpy(np.zeros((1, 4, 4, 3), np.uint8))
    with pytest.raises(InferenceServerException, match=r"\[N, 8, 8, 3\]") as failure:
        client.infer(MODEL, [tensor])
    assert failure.value.status() == "422"


def test_what_is_not_offered_is_an_error_the_client_can_read(client: triton.InferenceServerClient) -> None:
    """Routes of other extensions are 404 in the protocol's own form."""
    with pytest.raises(InferenceServerException) as failure:
        client.get_model_repository_index()
    assert failure.value.status() == "404"
    assert failure.value.message() == "There is nothing at this path; /docs, if it is on, has what there is."


def test_a_compressed_request_is_refused_with_the_remedy(client: triton.InferenceServerClient) -> None:
    """It is not taken for a picture, nor unpacked, whatever size it would have."""
    with pytest.raises(InferenceServerException, match="uncompressed") as failure:
        client.infer(MODEL, [encoded(RED)], request_compression_algorithm="gzip")
    assert failure.value.status() == "415"


async def test_the_asynchronous_client_works_too(server: ServerProcess) -> None:
    """It is another implementation, on another HTTP library."""
    async with triton_aio.InferenceServerClient(f"127.0.0.1:{server.port}") as client:
        assert await client.is_model_ready(MODEL)
        result = await client.infer(MODEL, [encoded(RED, GREY)])
    assert texts(result, "decision") == ["in", "out"]


def test_curl_alone_is_enough(server: ServerProcess) -> None:
    """The protocol's plain JSON, without any client of it."""
    image = base64.b64encode(RED).decode()
    tensor = {"name": "images", "datatype": "BYTES", "shape": [1], "data": [image]}
    answer = httpx.post(
        f"{server.url}/v2/models/{MODEL}/infer", json={"id": "7", "inputs": [tensor]}, timeout=60
    ).json()
    assert answer["id"] == "7"
    assert {output["name"]: output["data"] for output in answer["outputs"]}["decision"] == ["in"]
