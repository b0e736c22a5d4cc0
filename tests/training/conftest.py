"""Fixtures of the training tests: generated pictures and a run that was trained on them."""

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from service.bundle import Bundle, read_bundle
from tests.made_once import made_once
from training.bundling.export import export
from training.commands.defaults import DECIDES_OWN
from training.data.demo import write_demo_data
from training.fitting.recipes import Recipe, heads, one_cycle
from training.fitting.run import RunConfig
from training.fitting.train import train
from training.reproduction import Settings


@pytest.fixture(scope="session")
def demo_data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The generated data set: `train`, `test` and the OOD set `stripes`."""
    folder = made_once(tmp_path_factory, "demo", lambda folder: write_demo_data(folder, per_class=25, seed=0))
    return {name: folder / name for name in ("train", "test", "stripes")}


def small_run(data: Path, out: Path, recipe: Recipe) -> RunConfig:
    """A fit of all of a small network on small pictures."""
    return RunConfig(
        data=data,
        out=out,
        backbone="R11-tiny",
        weights=None,
        open_blocks=None,
        online=False,
        grouping=None,
        size=32,
        load_size=32,
        features=None,
        views=1,
        calibration=0.3,
        validation=0.1,
        recipe=recipe,
        settings=Settings(),
    )


@pytest.fixture(scope="session")
def finished_run(demo_data: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that fitted a small network for two epochs; read it, do not change it."""

    def fit(folder: Path) -> None:
        recipe = one_cycle(epochs=2, batch_size=32, learning_rate=0.05)
        config = small_run(demo_data["train"], folder / "small", recipe)
        train(config, config.read())

    return made_once(tmp_path_factory, "runs", fit) / "small"


@pytest.fixture(scope="session")
def exported(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The bundle of that run, not calibrated; read it, do not change it."""

    def write(folder: Path) -> None:
        export(finished_run, folder / "bundle", name="shapes")

    return read_bundle(made_once(tmp_path_factory, "exported", write) / "bundle")


@pytest.fixture(scope="session")
def frozen_run(finished_run: Path, demo_data: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Heads on that network's features beside foreign photographs, and all parts joined decide; read it only."""

    def fit(folder: Path) -> None:
        recipe = heads(135, epochs=10, batch_size=32)
        config = replace(
            small_run(demo_data["train"], folder / "frozen", recipe),
            weights=finished_run / "network.pt",
            open_blocks=0,
            outliers=(str(demo_data["stripes"]),),
            decide_by=DECIDES_OWN,
        )
        train(config, config.read())

    return made_once(tmp_path_factory, "frozen", fit) / "frozen"


@pytest.fixture(scope="session")
def frozen_bundle(frozen_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The bundle of that run, not calibrated; read it, do not change it."""

    def write(folder: Path) -> None:
        export(frozen_run, folder / "bundle", name="frozen")

    return read_bundle(made_once(tmp_path_factory, "frozen_bundle", write) / "bundle")


@pytest.fixture(scope="session")
def ray_address() -> Iterator[str]:
    """A Ray cluster of this machine alone, with two cores to give: starting it takes seconds, so there is one."""
    import ray

    context = ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=80 << 20,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    yield str(context.address_info["gcs_address"])
    ray.shutdown()
