"""Fixtures that tests of several parts share."""

import os
import tarfile
from pathlib import Path

import pytest

from service.bundle import Bundle
from tests.tiny_bundle import MOS_AND_LOGIT, write_tiny_bundle

# Before anything imports torch, and for the processes that tests start. The networks here are tiny: threads gain them
# nothing, and where several processes share the tests out, threads that wait for each other cost tenfold.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """`--numprocesses auto`: one more than there are cores, since tests of servers wait more than they work."""
    return (os.cpu_count() or 1) + 1


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """A calibrated bundle of a small real model; read it, do not change it (`write_tiny_bundle` makes another)."""
    return write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny")


@pytest.fixture(scope="session")
def mos_and_logit_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """The same model where not MOS alone decides; read it, do not change it."""
    return write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "mos_and_logit", decision=MOS_AND_LOGIT)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of public pictures that lies beside the checkout, where there is one."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the public pictures of ../shared/data are not here")
    return folder


@pytest.fixture(scope="session")
def photos(shared_data: Path) -> list[bytes]:
    """A hundred JPEG photos of ordinary size, encoded."""
    with tarfile.open(shared_data / "photos.tar") as archive:
        members = sorted((member for member in archive if member.isfile()), key=lambda member: member.name)
        return [file.read() for member in members if (file := archive.extractfile(member))]
