"""Weights made elsewhere give the features and logits that they gave there."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from service.bundle import read_bundle
from tests.training.weights.test_formats import write_safetensors
from training.errors import CheckpointError, UnknownBackbone
from training.fitting import checkpoint
from training.model.backbones import backbone
from training.model.bit import KNOWN_BITS, Bit, BitConfig
from training.model.group_softmax import GroupHead
from training.weights import ilsvrc_order
from training.weights import reading as weights
from training.weights.reading import PUBLISHED, backbone_name, find_weights, read_backbone, read_weights

CLASSES = 11
SHIPPED = Path(__file__).parents[3] / "service" / "default_bundle"


def random_weights(network: torch.nn.Module) -> dict[str, Tensor]:
    """Values for every parameter, norms included."""
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.randn(value.shape, generator=generator) * 0.1 + (1.0 if value.dim() == 1 else 0.0)
        for name, value in network.state_dict().items()
    }


def random_head(rows: int, feature_size: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(rows, feature_size, generator=generator), torch.randn(rows, generator=generator)


def as_timm(values: dict[str, Tensor]) -> dict[str, Tensor]:
    """timm's names, from ours."""
    named = {}
    for name, value in values.items():
        if unit := re.fullmatch(r"block(\d)\.unit(\d\d)\.(.*)", name):
            rest = unit[3].replace("downsample.", "downsample.conv.")
            named[f"stages.{int(unit[1]) - 1}.blocks.{int(unit[2]) - 1}.{rest}"] = value
        else:
            named[name.replace("root.", "stem.")] = value
    return named


def as_official(values: dict[str, Tensor]) -> dict[str, Tensor]:
    """The names of the authors' checkpoints, from ours."""
    named = {}
    for name, value in values.items():
        if name.startswith("block"):
            named[f"module.body.{name.replace('.norm', '.gn')}"] = value
        else:
            named[f"module.{name}" if name.startswith("root") else f"module.before_head.gn.{name[5:]}"] = value
    return named


def write_official(file: Path, head: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
    """A checkpoint as the authors' fine-tuning leaves it, of a small network."""
    values = random_weights(backbone("R11-tiny"))
    model = as_official(values) | {
        "module.head.conv.weight": head[0][:, :, None, None],
        "module.head.conv.bias": head[1],
    }
    optim = {"state": {0: {"momentum_buffer": torch.zeros(2)}}, "param_groups": [{"lr": 0.003, "params": [0]}]}
    torch.save({"step": 20000, "model": model, "optim": optim}, file)
    return values


def bit_of_transformers(config: BitConfig, classes: int) -> torch.nn.Module:
    """An independent BiT in float64 with random weights, standardised with Google's eps."""
    transformers = pytest.importorskip("transformers", reason="transformers, the independent BiT, is not installed")
    from transformers.models.bit.modeling_bit import WeightStandardizedConv2d

    model = transformers.BitForImageClassification(
        transformers.BitConfig(
            embedding_size=config.width // 4,
            hidden_sizes=[config.width << block for block in range(4)],
            depths=list(config.units),
            num_labels=classes,
        )
    )
    generator = torch.Generator().manual_seed(0)
    for module in model.modules():
        if isinstance(module, WeightStandardizedConv2d):
            module.eps = 1e-10
    with torch.no_grad():
        for value in model.parameters():
            noise = torch.randn(value.shape, generator=generator)
            value.copy_(0.1 * noise + (1.0 if value.dim() == 1 else 0.0))
    return model.double().eval()


def as_google(model: torch.nn.Module) -> dict[str, np.ndarray]:
    """Google's .npz layout of a BiT of transformers: names, and kernels in HWIO."""
    rules = (
        (r"^bit\.embedder\.convolution\.weight$", "root_block/standardized_conv2d/kernel"),
        (r"^bit\.norm\.weight$", "group_norm/gamma"),
        (r"^bit\.norm\.bias$", "group_norm/beta"),
        (r"^classifier\.1\.weight$", "head/conv2d/kernel"),
        (r"^classifier\.1\.bias$", "head/conv2d/bias"),
        (r"\.downsample\.conv\.weight$", "/a/proj/standardized_conv2d/kernel"),
    )
    for number, letter in zip("123", "abc", strict=True):
        rules += (
            (rf"\.conv{number}\.weight$", f"/{letter}/standardized_conv2d/kernel"),
            (rf"\.norm{number}\.weight$", f"/{letter}/group_norm/gamma"),
            (rf"\.norm{number}\.bias$", f"/{letter}/group_norm/beta"),
        )
    stored = {}
    for name, value in model.state_dict().items():
        for pattern, replacement in rules:
            name = re.sub(pattern, replacement, name)
        unit = re.match(r"bit\.encoder\.stages\.(\d+)\.layers\.(\d+)(.*)", name)
        name = f"block{int(unit[1]) + 1}/unit{int(unit[2]) + 1:02d}{unit[3]}" if unit else name
        kernel = value[:, :, None, None] if value.dim() == 2 else value
        stored[f"resnet/{name}"] = (kernel.permute(2, 3, 1, 0) if kernel.dim() == 4 else kernel).float().numpy()
    return stored


@pytest.mark.numeric
@pytest.mark.parametrize(
    "config",
    [
        KNOWN_BITS["R50x1"],
        BitConfig((3, 4, 23, 3), width=128),
        BitConfig((1, 2, 1, 1), width=384),
    ],
    ids=["R50x1", "as deep as R101", "wider"],
)
def test_googles_weights_give_what_an_independent_bit_gives(tmp_path: Path, config: BitConfig) -> None:
    """Random weights in Google's layout: features and logits equal those of transformers' BiT in float64 to 1e-9."""
    model = bit_of_transformers(config, CLASSES)
    np.savez(tmp_path / "bit.npz", **as_google(model))
    ours = Bit("of this test", config).double().eval()
    read = read_weights(tmp_path / "bit.npz")
    ours.load_state_dict(read.backbone)
    assert read.flat_head is not None
    weight, bias = (part.double() for part in read.flat_head)
    images = torch.rand(2, 3, 72, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(2)) * 2 - 1
    with torch.no_grad():
        features, theirs = ours(images), model.bit(images).pooler_output.flatten(1)
        logits, their_logits = features @ weight.T + bias, model(images).logits
    assert theirs.std() > 0.1
    torch.testing.assert_close(features, theirs, rtol=0, atol=1e-9)
    torch.testing.assert_close(logits, their_logits, rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", ["bit.safetensors", "bit.pth", "bit.bin"])
def test_timms_layout_fills_the_same_backbone(tmp_path: Path, name: str) -> None:
    """Every parameter comes back, and the 1x1 convolution that is its head comes as (C, D)."""
    ours = backbone("R11-tiny")
    values, (weight, bias) = random_weights(ours), random_head(CLASSES, ours.feature_size)
    stored = as_timm(values) | {"head.fc.weight": weight[:, :, None, None], "head.fc.bias": bias}
    expected = {"stem.conv.weight", "stages.0.blocks.0.norm1.weight", "stages.0.blocks.0.downsample.conv.weight"}
    assert expected | {"norm.weight"} <= stored.keys()
    if name.endswith(".safetensors"):
        write_safetensors(tmp_path / name, stored)
    else:
        torch.save(stored, tmp_path / name)
    read_backbone(tmp_path / name, ours)
    assert all(torch.equal(ours.state_dict()[key], value) for key, value in values.items())
    read = read_weights(tmp_path / name)
    assert read.group_head is None
    assert read.flat_head is not None
    assert torch.equal(read.flat_head[0], weight)
    assert torch.equal(read.flat_head[1], bias)


def test_the_authors_backbone_is_read(tmp_path: Path) -> None:
    """Every parameter of their fine-tuned checkpoint comes back under our name."""
    ours = backbone("R11-tiny")
    values = write_official(tmp_path / "bit.pth.tar", random_head(1000, ours.feature_size))
    read_backbone(tmp_path / "bit.pth.tar", ours)
    assert all(torch.equal(ours.state_dict()[key], value) for key, value in values.items())


@pytest.mark.parametrize(
    ("label_order", "tench", "kit_fox"), [("corrected", 0, 278), ("paper", 0, 278), ("official", 448, 0)]
)
def test_the_authors_flat_head_names_the_right_class(
    tmp_path: Path, label_order: str, tench: int, kit_fox: int
) -> None:
    """A feature that their rows 448 and 0 answer to is a tench and a kit fox by sorted id, or by the kit's number."""
    weight, bias = torch.eye(1000), torch.zeros(1000)
    write_official(tmp_path / "bit.pth.tar", (weight, bias))
    read = read_weights(tmp_path / "bit.pth.tar", label_order=label_order)
    assert read.group_head is None
    assert read.flat_head is not None
    predicted = (torch.eye(1000)[[448, 0]] @ read.flat_head[0].T + read.flat_head[1]).argmax(dim=1)
    assert predicted.tolist() == [tench, kit_fox]


def test_biases_of_the_authors_heads_go_with_their_rows(tmp_path: Path) -> None:
    """A bias in another order would shift every class a little, and nobody would see why."""
    for rows, name in ((ilsvrc_order.flat_rows(), "flat_head"), (ilsvrc_order.group_rows(), "group_head")):
        bias = torch.arange(float(len(rows)))
        write_official(tmp_path / "bit.pth.tar", (torch.eye(len(rows)), bias))
        head = getattr(read_weights(tmp_path / "bit.pth.tar"), name)
        assert torch.equal(head[1], bias[rows])
        assert torch.equal(head[0].argmax(dim=1).float(), head[1])


@pytest.mark.parametrize("label_order", ["corrected", "official"])
def test_the_authors_group_head_names_the_right_class_in_the_right_group(tmp_path: Path, label_order: str) -> None:
    """Their rows, read into a group head of their grouping: classes by id, *others* scores of the same groups."""
    weight, bias = 20 * torch.eye(1008), torch.zeros(1008)
    write_official(tmp_path / "bit.pth.tar", (weight, bias))
    read = read_weights(tmp_path / "bit.pth.tar", label_order=label_order)
    assert read.flat_head is None
    assert read.group_head is not None
    head = GroupHead(1008, ilsvrc_order.grouping(label_order))
    head.linear.load_state_dict({"weight": read.group_head[0], "bias": read.group_head[1]})
    # Stored: animals begin at row 0, artifacts at row 399; *others* first, then their classes in the kit's order.
    tench, first_artifact, others_of_artifacts = 1 + 287, 399 + 1, 399
    with torch.no_grad():
        probability, others = head.probabilities(head(torch.eye(1008)[[tench, first_artifact, others_of_artifacts]]))
    ids = ilsvrc_order.classes(label_order)
    kit = ilsvrc_order.classes("official")
    animals = set(ilsvrc_order.grouping("official").members[0])
    artifact = next(name for index, name in enumerate(kit) if index not in animals)
    assert [ids[index] for index in probability[:2].argmax(dim=1)] == ["n01440764", artifact]
    assert others[2].argmax() == 1
    assert probability.shape == (3, 1000)


def test_a_head_of_theirs_for_other_classes_is_left_out(tmp_path: Path) -> None:
    """Nothing tells the order of its rows; the backbone is read all the same."""
    values = write_official(tmp_path / "bit.pth.tar", random_head(12, 128))
    read = read_weights(tmp_path / "bit.pth.tar")
    assert (read.flat_head, read.group_head) == (None, None)
    assert read.backbone.keys() == values.keys()


def test_a_run_gives_its_backbone_and_both_heads(finished_run: Path) -> None:
    """A run's network.pt is where another run may start."""
    network = checkpoint.load(finished_run / "network.pt")["network"]
    read = read_weights(finished_run / "network.pt")
    assert read.flat_head is not None
    assert read.group_head is not None
    assert torch.equal(read.flat_head[0], network["flat.weight"])
    assert torch.equal(read.group_head[1], network["group.linear.bias"])
    assert read.backbone.keys() == backbone("R11-tiny").state_dict().keys()


def test_a_bundle_gives_its_backbone_and_group_head() -> None:
    """The shipped bundle, by its folder: sizes as its manifest has them, in float32 whatever it is stored in."""
    manifest = read_bundle(SHIPPED).manifest
    read = read_weights(SHIPPED)
    name = backbone_name(SHIPPED / "model.onnx")
    assert name == manifest.backbone
    read_backbone(SHIPPED, backbone(name))
    assert read.flat_head is None
    assert read.group_head is not None
    weight, bias = read.group_head
    assert weight.shape == (len(manifest.classes) + len(manifest.groups), backbone(name).feature_size)
    assert len(bias) == len(weight)
    assert {weight.dtype} | {value.dtype for value in read.backbone.values()} == {torch.float32}


@pytest.mark.parametrize("shape", [(-1, 1, 1), (-1, 1, 1, 1)], ids=["once", "now"])
def test_norms_are_read_in_any_shape_that_graphs_have_stored_them_in(
    shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shape is the one they were used in: a bundle of an older graph is still where a run may start."""
    wanted = backbone("R11-tiny").state_dict()
    stored = {f"backbone.{key}": value.reshape(shape) if "norm" in key else value for key, value in wanted.items()}
    monkeypatch.setattr(weights, "read_tensors", lambda file: stored)
    read = read_weights(Path("model.onnx")).backbone
    assert {key: value.shape for key, value in read.items()} == {key: value.shape for key, value in wanted.items()}


@pytest.mark.parametrize("name", KNOWN_BITS)
def test_the_shapes_tell_the_backbone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each backbone of the table is told from all others by the shapes of its weights alone."""
    with torch.device("meta"):
        stored = {f"backbone.{key}": value for key, value in backbone(name).state_dict().items()}
    monkeypatch.setattr(weights, "read_tensors", lambda file: stored)
    assert backbone_name(Path("network.pt")) == name


def test_a_backbone_that_is_not_in_the_table_has_no_name(tmp_path: Path) -> None:
    """The error lists those that have one."""
    values = Bit("of this test", BitConfig((1, 2), width=32, norm_groups=4)).state_dict()
    torch.save({"network": {f"backbone.{key}": value for key, value in values.items()}}, tmp_path / "network.pt")
    with pytest.raises(UnknownBackbone, match=r"network\.pt .*R50x1"):
        backbone_name(tmp_path / "network.pt")


@pytest.mark.parametrize(
    ("stored", "asked", "sentence"),
    [
        ("R50x1", "R50x3", r"root\.conv\.weight is \(64, 3, 7, 7\) in .*bit\.pth and \(192, 3, 7, 7\) here.* R50x1"),
        ("R50x1", "R101x1", r"bit\.pth has no weights for block3\.unit07\.norm1\.weight; .* R50x1"),
        ("R101x1", "R50x1", r"bit\.pth has weights for block3\.unit07\.\S+, which is not here; .* R101x1"),
    ],
    ids=["another width", "shallower", "deeper"],
)
def test_a_checkpoint_of_another_backbone_is_refused(
    monkeypatch: pytest.MonkeyPatch, stored: str, asked: str, sentence: str
) -> None:
    """The sentence names file, parameter, both shapes and the backbone that would fit."""
    with torch.device("meta"):
        values, network = as_timm(backbone(stored).state_dict()), backbone(asked)
    monkeypatch.setattr(weights, "read_tensors", lambda file: values)
    with pytest.raises(CheckpointError, match=sentence):
        read_backbone(Path("bit.pth"), network)


def test_a_checkpoint_that_lacks_a_parameter_is_refused(tmp_path: Path) -> None:
    """It is of the right backbone, so the file itself is at fault."""
    values = as_timm(random_weights(backbone("R11-tiny")))
    del values["norm.bias"]
    torch.save(values, tmp_path / "bit.pth")
    with pytest.raises(CheckpointError, match=r"no weights for norm\.bias; the file is not whole"):
        read_backbone(tmp_path / "bit.pth", backbone("R11-tiny"))


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    """The sentence says which weights are known."""
    torch.save({"conv1.weight": torch.zeros(64, 3, 7, 7)}, tmp_path / "resnet50.pth")
    with pytest.raises(CheckpointError, match=r"resnet50\.pth holds no backbone .*Google's"):
        read_weights(tmp_path / "resnet50.pth")


def test_a_path_is_itself_and_an_unknown_name_lists_the_known(tmp_path: Path) -> None:
    """A path that exists needs no look-up; BiT-S and BiT-M of six sizes and M fine-tuned have names."""
    assert find_weights(str(tmp_path)) == tmp_path
    assert len(PUBLISHED) == len(set(PUBLISHED)) == 18
    assert {"BiT-S-R101x1", "BiT-M-R152x4", "BiT-M-R50x1-ILSVRC2012"} <= set(PUBLISHED)
    with pytest.raises(CheckpointError, match=r"no weights BiT-S-R18; .*BiT-S-R101x1"):
        find_weights("BiT-S-R18")
