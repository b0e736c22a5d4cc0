"""Tensors out of files: every kind whole, and nothing out of a damaged or hostile one."""

import json
import os
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from training.errors import CheckpointError
from training.weights.formats import read_tensors


def some_tensors() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        "kernel": torch.randn(4, 3, 2, 2, generator=generator),
        "wide": torch.randn(5, generator=generator, dtype=torch.float64),
        "step": torch.tensor([7, 8]),
    }


def write_safetensors(file: Path, tensors: dict[str, Tensor]) -> None:
    """The published format, written by hand: header length, JSON header, values."""
    types = {torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    body = b""
    for name, tensor in tensors.items():
        raw = bytes(tensor.contiguous().view(torch.uint8).flatten().tolist()) if tensor.numel() else b""
        place = [len(body), len(body) + len(raw)]
        header[name] = {
            "dtype": types.get(tensor.dtype, "I64"),
            "shape": list(tensor.shape),
            "data_offsets": place,
        }
        body += raw
    encoded = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(encoded)) + encoded + body)


def write(file: Path, tensors: dict[str, Tensor]) -> None:
    if file.suffix == ".npz":
        np.savez(file, **{name: tensor.numpy() for name, tensor in tensors.items()})
    elif file.suffix == ".safetensors":
        write_safetensors(file, tensors)
    else:
        torch.save(tensors, file)


class Hostile:
    """A pickle of this runs a command when it is read by a reader that trusts it."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("name", ["a.npz", "a.safetensors", "a.pth", "a.pt", "a.bin", "a.pth.tar"])
def test_every_kind_gives_back_what_was_written(tmp_path: Path, name: str) -> None:
    """Names, shapes, types and values survive."""
    write(tmp_path / name, some_tensors())
    read = read_tensors(tmp_path / name)
    assert read.keys() == some_tensors().keys()
    for key, tensor in some_tensors().items():
        assert read[key].dtype == tensor.dtype
        assert torch.equal(read[key], tensor)


def test_what_the_safetensors_package_writes_is_read(tmp_path: Path) -> None:
    """The format's own writer is the judge of the reader."""
    published = pytest.importorskip("safetensors.torch", reason="safetensors is not installed")
    published.save_file(some_tensors(), tmp_path / "a.safetensors", metadata={"format": "pt"})
    read = read_tensors(tmp_path / "a.safetensors")
    assert all(torch.equal(read[name], tensor) for name, tensor in some_tensors().items())
    assert read.keys() == some_tensors().keys()


def test_pickles_of_old_torch_are_read(tmp_path: Path) -> None:
    """Checkpoints from before torch 1.6 are not archives."""
    torch.save(some_tensors(), tmp_path / "a.pth", _use_new_zipfile_serialization=False)
    assert torch.equal(read_tensors(tmp_path / "a.pth")["kernel"], some_tensors()["kernel"])


@pytest.mark.parametrize("wrapper", ["network", "model", "state_dict"])
def test_weights_beside_other_state_are_found(tmp_path: Path, wrapper: str) -> None:
    """A checkpoint of a fit keeps its weights beside its step and its optimiser."""
    torch.save({"step": 3, wrapper: some_tensors(), "optim": {"state": {}}}, tmp_path / "a.pth")
    assert read_tensors(tmp_path / "a.pth").keys() == some_tensors().keys()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_widened(tmp_path: Path, dtype: torch.dtype) -> None:
    """A backbone computes in float32, so its weights are read as that."""
    tensor = torch.linspace(-1, 1, 6).to(dtype)
    write_safetensors(tmp_path / "a.safetensors", {"a": tensor})
    read = read_tensors(tmp_path / "a.safetensors")["a"]
    assert read.dtype == torch.float32
    assert torch.equal(read, tensor.float())


@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path, legacy: bool) -> None:
    """The code does not run, and the sentence names the file."""
    mark, file = tmp_path / "it-ran", tmp_path / "hostile.pth"
    torch.save({"model": some_tensors(), "extra": Hostile(mark)}, file, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(CheckpointError, match=r"hostile\.pth.*never run"):
        read_tensors(file)
    assert not mark.exists()


def test_an_archive_of_pickled_objects_is_refused(tmp_path: Path) -> None:
    """NumPy's object arrays are pickles too."""
    mark, file = tmp_path / "it-ran", tmp_path / "hostile.npz"
    np.savez(file, a=np.array([Hostile(mark)], dtype=object))
    with pytest.raises(CheckpointError, match=r"hostile\.npz"):
        read_tensors(file)
    assert not mark.exists()


@pytest.mark.parametrize("name", ["a.npz", "a.safetensors", "a.pth"])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.99])
def test_a_file_that_lost_its_end_is_refused(tmp_path: Path, name: str, share: float) -> None:
    """Wherever it was cut, one sentence names the file."""
    file = tmp_path / name
    write(file, some_tensors())
    content = file.read_bytes()
    file.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(CheckpointError, match=name):
        read_tensors(file)


def test_an_archive_with_a_changed_byte_is_refused(tmp_path: Path) -> None:
    """The archive's own checksum is heeded."""
    file = tmp_path / "a.npz"
    write(file, some_tensors())
    content = bytearray(file.read_bytes())
    place = content.index(some_tensors()["kernel"].numpy().tobytes())
    content[place + 5] ^= 1
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged"):
        read_tensors(file)


@pytest.mark.parametrize("state", [[1, 2], "weights", torch.zeros(3), {"model": 5}])
def test_a_pickle_of_something_else_is_refused(tmp_path: Path, state: object) -> None:
    """A tensor file holds tensors by name."""
    torch.save(state, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"a\.pth"):
        read_tensors(tmp_path / "a.pth")


def test_a_missing_file_and_an_unknown_kind_say_what_to_do(tmp_path: Path) -> None:
    """The first is not there; for the second the kinds are listed."""
    with pytest.raises(CheckpointError, match=r"no file .*a\.npz"):
        read_tensors(tmp_path / "a.npz")
    (tmp_path / "a.h5").write_bytes(b"\x89HDF")
    with pytest.raises(CheckpointError, match=r"\.npz, \.safetensors"):
        read_tensors(tmp_path / "a.h5")
