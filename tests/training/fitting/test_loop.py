"""Fitting: what is drawn by chance depends on seed and step alone, so runs resume, split and share exactly."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.server_process import ROOT
from tests.training.fitting import under_torchrun
from training.errors import CheckpointError
from training.fitting import checkpoint
from training.fitting import loop as module
from training.fitting.batches import Batches, Foreign, feature_batches
from training.fitting.loop import CHECKPOINT_NAME, Objective, fit, take_step
from training.fitting.recipes import Recipe, one_cycle
from training.fitting.teacher import Teacher
from training.grouping.groups import Grouping
from training.model.backbones import backbone
from training.model.network import Network

GROUPS = Grouping(("a", "b"), ((0, 1), (2,)))
RECIPE = one_cycle(epochs=3, batch_size=8, learning_rate=0.05, seed=7)
PIXELS = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (20, 16, 16, 3), np.uint8))
LABELS = np.arange(20) % 3


class RandomPictures:
    """The same pictures each time, as they are."""

    def read(self, rows: NDArray[np.int64], share: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return PIXELS[rows[share.numpy()]]


class Interrupted(Exception):
    """Stands for a power cut."""


def network() -> Network:
    """The same random start each time."""
    torch.manual_seed(1)
    return Network(backbone("R11-tiny"), GROUPS)


def pictures(recipe: Recipe = RECIPE) -> Batches:
    """Batches of random pictures."""
    return Batches(RandomPictures(), LABELS, recipe, mixup_alpha=recipe.mixup_alpha, workers=0)


def run_fit(run: Path, interrupt_after: int | None = None, recipe: Recipe = RECIPE) -> Network:
    """Fit on random pictures, optionally cut off after a checkpoint."""
    run.mkdir(exist_ok=True)
    saved = checkpoint.save
    count = 0

    def save_then_stop(state: dict[str, object], file: Path) -> None:
        nonlocal count
        saved(state, file)
        count += 1
        if count == interrupt_after:
            raise Interrupted

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "save", save_then_stop)
        patch.setattr(module, "CHECKPOINT_EVERY_SECONDS", 0.0)
        patch.setattr(module, "SHORT_EPOCH_SECONDS", 0.0)
        return fit(network(), pictures(recipe), recipe, run, lambda _: "")


@pytest.mark.numeric
@pytest.mark.parametrize("cut", [1, 3], ids=["inside an epoch", "inside the next"])
@pytest.mark.parametrize(
    "recipe", [RECIPE, replace(RECIPE, mixup_alpha=0.4, average_decay=0.0)], ids=["plain", "mixed"]
)
def test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(tmp_path: Path, cut: int, recipe: Recipe) -> None:
    """Bit for bit, on the CPU, wherever it was cut."""
    whole = run_fit(tmp_path / "whole", recipe=recipe).state_dict()
    with pytest.raises(Interrupted):
        run_fit(tmp_path / "cut", interrupt_after=cut, recipe=recipe)
    resumed = run_fit(tmp_path / "cut", recipe=recipe).state_dict()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_fitting_changes_the_weights_and_another_seed_changes_them_differently(tmp_path: Path) -> None:
    """The comparison above is not between runs that did nothing."""
    start = network().backbone.root.conv.weight
    one = run_fit(tmp_path / "one").backbone.root.conv.weight
    other = run_fit(tmp_path / "other", recipe=replace(RECIPE, seed=8)).backbone.root.conv.weight
    assert not torch.equal(one, start)
    assert not torch.equal(one, other)


def test_a_run_with_other_settings_is_not_resumed(tmp_path: Path) -> None:
    """Resuming with another learning rate would be neither run."""
    run_fit(tmp_path / "run")
    with pytest.raises(CheckpointError, match="other settings"):
        run_fit(tmp_path / "run", recipe=replace(RECIPE, learning_rate=0.1))


def test_a_damaged_checkpoint_is_refused_by_name(tmp_path: Path) -> None:
    """Half a file is an error, not a fresh start over someone's hours."""
    run_fit(tmp_path / "run")
    file = tmp_path / "run" / CHECKPOINT_NAME
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r"checkpoint\.pt"):
        run_fit(tmp_path / "run")


def test_fitting_heads_leaves_the_backbone_alone(tmp_path: Path) -> None:
    """A frozen backbone is frozen, and both heads learn."""
    start = network()
    start.backbone.open(0)
    views = np.random.default_rng(0).standard_normal((2, 20, start.backbone.feature_size), np.float32)
    batches = feature_batches(views, np.arange(20), LABELS, RECIPE)
    fitted = fit(start, batches, RECIPE, tmp_path, lambda _: "", on_features=True)
    assert torch.equal(fitted.backbone.root.conv.weight, network().backbone.root.conv.weight)
    assert fitted.flat.weight.abs().sum() > 0
    assert fitted.group.linear.weight.abs().sum() > 0


@pytest.mark.parametrize("blocks", [0, 1, 2, 3])
def test_only_the_last_blocks_and_the_final_norm_are_opened(tmp_path: Path, blocks: int) -> None:
    """Paper §4.3.5: the rest of the backbone stays as it came."""
    start = network()
    start.backbone.open(blocks)
    before = network().backbone.state_dict()
    after = fit(start, pictures(), RECIPE, tmp_path, lambda _: "").backbone.state_dict()
    changed = {name.partition(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {f"block{index}" for index in range(4 - blocks, 4)} | ({"norm"} if blocks else set())


def gradient_step(recipe: Recipe) -> dict[str, torch.Tensor]:
    """The weights after one step of plain SGD over a batch of all the pictures."""
    start = network()
    for head in (start.flat, start.group.linear):
        head.weight.data.normal_(generator=torch.Generator().manual_seed(0))
    optimizer = torch.optim.SGD(start.parameters(), 0.1)
    take_step(Objective(start, recipe, on_features=False), pictures(recipe).at(0), recipe, optimizer)
    return start.state_dict()


@pytest.mark.numeric
@pytest.mark.parametrize("micro_batch", [1, 7, 10, 20])
@pytest.mark.parametrize("mixup_alpha", [0.0, 0.5])
def test_accumulated_parts_make_the_step_of_the_whole_batch(micro_batch: int, mixup_alpha: float) -> None:
    """Parts of any size, the last one shorter, mixed or not; the authors' code fails this (B1)."""
    whole = replace(RECIPE, batch_size=20, mixup_alpha=mixup_alpha)
    expected = gradient_step(whole)
    parts = gradient_step(replace(whole, micro_batch=micro_batch))
    for name, value in expected.items():
        torch.testing.assert_close(parts[name], value, rtol=1e-4, atol=1e-5)


@pytest.mark.numeric
def test_a_mixed_step_is_that_of_the_mixed_loss() -> None:
    """The gradient is lam of the pictures' own labels' and the rest of their partners', on the mixed pictures."""
    recipe = replace(RECIPE, batch_size=20, mixup_alpha=0.5)
    batch = pictures(recipe).at(0)
    assert 0.05 < batch.lam < 0.95
    start = network()
    for head in (start.flat, start.group.linear):
        head.weight.data.normal_(generator=torch.Generator().manual_seed(0))
    mixed = batch.lam * batch.inputs.float() + (1 - batch.lam) * batch.inputs[batch.partner].float()
    features = start(mixed)
    weights = {"flat_weight": 1.0, "group_weight": 1.0}
    own = start.losses(features, batch.labels, **weights).mean()
    partners = start.losses(features, batch.labels[batch.partner], **weights).mean()
    (batch.lam * own + (1 - batch.lam) * partners).backward()
    torch.optim.SGD(start.parameters(), 0.1).step()
    for name, value in gradient_step(recipe).items():
        torch.testing.assert_close(value, start.state_dict()[name], rtol=1e-4, atol=1e-5)


class FewForeign:
    """Random pictures of none of the classes."""

    def read(self, rows: NDArray[np.int64], share: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return 255 - PIXELS[rows[share.numpy()]]


def teacher() -> Teacher:
    """Another random network, with answers."""
    torch.manual_seed(2)
    other = Network(backbone("R11-tiny"), GROUPS)
    torch.nn.init.normal_(other.flat.weight)
    return Teacher(other.requires_grad_(False).eval(), 16)


@pytest.mark.numeric
@pytest.mark.parametrize("micro_batch", [None, 5])
def test_a_step_beside_foreign_pictures_and_a_teacher_is_that_of_the_losses_by_hand(micro_batch: int | None) -> None:
    """The labels' and the teacher's share on the classes, outlier exposure on the foreign, each a mean of its own."""
    recipe = replace(
        RECIPE, batch_size=20, outlier_weight=0.3, teacher_weight=0.6, temperature=3.0, micro_batch=micro_batch
    )
    foreign = [Foreign(FewForeign(), 6, 4)]
    batch = Batches(RandomPictures(), LABELS, recipe, foreign=foreign, mixup_alpha=0.0, workers=0).at(0)
    start, by_hand = network(), network()
    for one in (start, by_hand):
        for head in (one.flat, one.group.linear):
            head.weight.data.normal_(generator=torch.Generator().manual_seed(0))
    optimizer = torch.optim.SGD(start.parameters(), 0.1)
    take_step(Objective(start, recipe, teacher(), on_features=False), batch, recipe, optimizer)

    features, known = by_hand(batch.inputs), batch.labels >= 0
    assert known.sum() == 20
    assert (~known).sum() == 4
    flat, group = by_hand.flat(features), by_hand.group(features)
    # Logits by group: others, 0, 1 | others, 2; a foreign picture is others in both, and any class to the flat head.
    first, second = group[:, :3].log_softmax(dim=1), group[:, 3:].log_softmax(dim=1)
    to_first, to_second = torch.tensor([1, 2, 0]), torch.tensor([0, 0, 1])
    rows, labels = torch.arange(20), batch.labels[known]
    hard = -flat[known].log_softmax(dim=1)[rows, labels]
    hard = hard - first[known][rows, to_first[labels]] - second[known][rows, to_second[labels]]
    foreign_loss = -flat[~known].log_softmax(dim=1).mean(dim=1) - first[~known, 0] - second[~known, 0]
    target = (teacher().logits(batch.inputs[known]) / 3).softmax(dim=1)
    soft = -(target * (flat[known] / 3).log_softmax(dim=1)).sum(dim=1)
    soft = soft - (target * (group[known, :3] / 3).log_softmax(dim=1)[:, to_first]).sum(dim=1)
    soft = soft - (target * (group[known, 3:] / 3).log_softmax(dim=1)[:, to_second]).sum(dim=1)
    (0.4 * hard.mean() + 0.6 * 9 * soft.mean() + 0.3 * foreign_loss.mean()).backward()
    torch.optim.SGD(by_hand.parameters(), 0.1).step()
    for name, value in by_hand.state_dict().items():
        torch.testing.assert_close(start.state_dict()[name], value, rtol=1e-3, atol=1e-4)
    assert not torch.equal(start.flat.weight, network().flat.weight)


def test_the_authors_accumulation_never_steps() -> None:
    """Defect B1 is repeated on request: with a split batch the weights stay, unsplit they move."""
    recipe = replace(RECIPE, batch_size=20, steps_after_split=False)
    split, unsplit = gradient_step(replace(recipe, micro_batch=5)), gradient_step(recipe)
    start = network().backbone.state_dict()
    assert all(torch.equal(split[f"backbone.{name}"], value) for name, value in start.items())
    assert not torch.equal(split["backbone.norm.weight"], unsplit["backbone.norm.weight"])


TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
JOBS = ["-m", under_torchrun.__name__]


@pytest.fixture(scope="module")
def fits_of_one_and_two(demo_data: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Folders of the same runs by this process and by two."""
    out = tmp_path_factory.mktemp("processes")
    command = [*TORCHRUN, *JOBS, "fit_all", str(demo_data["train"]), str(out / "two")]
    subprocess.run(command, check=True, capture_output=True, timeout=240, cwd=ROOT)
    under_torchrun.fit_all(demo_data["train"], out / "one")
    return out / "one", out / "two"


@pytest.mark.e2e
@pytest.mark.numeric
@pytest.mark.parametrize("name", under_torchrun.FITS)
def test_two_processes_fit_what_one_fits(fits_of_one_and_two: tuple[Path, Path], name: str) -> None:
    """torchrun with two processes gives the weights of one to rounding."""
    one, two = (checkpoint.load(folder / name / "network.pt")["network"] for folder in fits_of_one_and_two)
    assert one.keys() == two.keys()
    for key in one:
        torch.testing.assert_close(two[key], one[key], rtol=1e-3, atol=1e-4)


@pytest.mark.e2e
def test_a_lost_worker_is_replaced_and_the_run_goes_on_from_its_checkpoint(
    demo_data: dict[str, Path], tmp_path: Path
) -> None:
    """One of two processes is killed after a checkpoint; torchrun starts both again and the run finishes, once."""
    out = tmp_path / "run"
    command = [*TORCHRUN, "--max-restarts", "1", *JOBS, "train_and_be_killed", str(demo_data["train"]), str(out)]
    with (tmp_path / "log").open("w") as log:
        # Without it workers that are started again may find addresses of dead ones (pytorch/pytorch#135712).
        fresh_store = {**os.environ, "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"}
        going = subprocess.Popen(command, stderr=log, stdout=log, env=fresh_store, cwd=ROOT)
        try:
            while not (out / under_torchrun.KILL_ME).exists() and going.poll() is None:
                time.sleep(0.02)
            assert not (out / "network.pt").exists()
            os.kill(int((out / under_torchrun.KILL_ME).read_text()), signal.SIGKILL)
            assert going.wait(timeout=240) == 0, (tmp_path / "log").read_text()
        finally:
            going.terminate()  # and with it its workers
            going.wait(timeout=60)
    assert "resuming at step" in (tmp_path / "log").read_text()
    assert (out / "network.pt").exists()
    assert (out / under_torchrun.EXPORTS).read_text() == f"{out} {out / 'bundle'}\n", "one process exports, once"
