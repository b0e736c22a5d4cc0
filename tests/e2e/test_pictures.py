"""Real pictures through a real server process: photos, CIFAR-100 test pictures, and what is neither."""

import io
import tarfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from PIL import Image

from service.http import schemas
from service.settings import DEFAULT_BUNDLE
from tests.server_process import ServerProcess, running_server
from tests.tiny_bundle import write_tiny_bundle

pytestmark = pytest.mark.e2e

Picture = tuple[str, bytes]  # its class and its encoded bytes


def read_pictures(archive: Path, every: int) -> list[Picture]:
    """Return every *every*th picture of an archive of class folders."""
    with tarfile.open(archive) as tar:
        members = sorted((member for member in tar if member.isfile()), key=lambda member: member.name)
        chosen = members[::every]
        return [(member.name.split("/")[-2], file.read()) for member in chosen if (file := tar.extractfile(member))]


@pytest.fixture(scope="module")
def cifar(shared_data: Path) -> list[Picture]:
    """Ten test pictures of each of the 100 classes."""
    return read_pictures(shared_data / "cifar100-test.tar.gz", every=10)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("server")
    bundle = write_tiny_bundle(folder / "bundle").path
    with running_server(folder, bundle=bundle, deadline_ms=120_000) as server:
        server.wait_until_ready()
        yield server


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    if not DEFAULT_BUNDLE.is_dir():
        pytest.skip("the shipped bundle, service/default_bundle, is not here")
    with running_server(tmp_path_factory.mktemp("shipped"), deadline_ms=120_000) as server:
        server.wait_until_ready()
        yield server


def judge(server: ServerProcess, pictures: Sequence[bytes], clients: int = 8) -> list[dict[str, Any]]:
    """Return the verdicts on *pictures*, sent one by one by some clients at a time."""
    with httpx.Client(base_url=server.url, timeout=120) as client, ThreadPoolExecutor(clients) as pool:
        responses = list(pool.map(lambda content: client.post("/predict", content=content), pictures))
    for response in responses:
        assert response.status_code == 200, response.text
        schemas.Verdict.model_validate_json(response.content, strict=True)
    verdicts = [response.json() for response in responses]
    for verdict in verdicts:
        assert verdict["mos"] == -min(verdict["others_scores"].values())
        assert verdict["decided_by"] != "mos" or verdict["score"] == verdict["mos"]
        assert verdict["decision"] == ("in" if verdict["score"] >= verdict["threshold"] else "out")
    return verdicts


@pytest.fixture(scope="module", params=["tiny", "shipped"])
def server(request: pytest.FixtureRequest) -> ServerProcess:
    found: ServerProcess = request.getfixturevalue(request.param)
    return found


@pytest.fixture(scope="module")
def own(shipped: ServerProcess, cifar: list[Picture]) -> list[dict[str, Any]]:
    """The shipped model's verdicts on test pictures of its own classes."""
    return judge(shipped, [content for _, content in cifar])


def share_in(verdicts: Sequence[dict[str, Any]]) -> float:
    return sum(verdict["decision"] == "in" for verdict in verdicts) / len(verdicts)


def same(one: dict[str, Any], other: dict[str, Any], tolerance: float = 1e-4) -> bool:
    """Say whether two verdicts are equal but for rounding, which may depend on the size of the batch."""
    groups = one["others_scores"]
    return one["label"] == other["label"] and all(
        abs(groups[group] - other["others_scores"][group]) <= tolerance for group in groups
    )


def test_every_photo_gets_a_verdict(server: ServerProcess, photos: list[bytes]) -> None:
    """A hundred ordinary JPEGs, colour and grey, of any size: none is refused."""
    assert len(judge(server, photos)) == 100


def test_a_photo_gets_one_verdict_however_it_travels(server: ServerProcess, photos: list[bytes]) -> None:
    """Alone or among others, raw or in a form, the verdict on a picture is the same."""
    some = photos[::10]
    alone = judge(server, some, clients=1)
    together = judge(server, some, clients=10)
    form = httpx.post(
        f"{server.url}/predict/batch", files=[("files", ("x.jpg", photo)) for photo in some], timeout=120
    ).json()
    for one, two, three in zip(alone, together, form, strict=True):
        assert same(one, two)
        assert same(one, three)


def test_a_cut_photo_is_refused(server: ServerProcess, photos: list[bytes]) -> None:
    """Half an upload is an error, never a verdict."""
    for photo in photos[::10]:
        response = httpx.post(f"{server.url}/predict", content=photo[: len(photo) // 2], timeout=60)
        assert (response.status_code, response.json()["code"]) == (400, "corrupt_image")


@pytest.mark.parametrize("bundle", ["tiny", "shipped"])
def test_small_pictures_get_verdicts(request: pytest.FixtureRequest, bundle: str, cifar: list[Picture]) -> None:
    """A thousand 32 x 32 PNGs, ten of each class."""
    if bundle == "shipped":
        verdicts = request.getfixturevalue("own")
    else:
        verdicts = judge(request.getfixturevalue("tiny"), [content for _, content in cifar])
    assert len(verdicts) == len(cifar)


def test_the_shipped_model_knows_its_classes(
    shipped: ServerProcess, cifar: list[Picture], own: list[dict[str, Any]]
) -> None:
    """Test pictures of its classes are mostly in, about as many as calibration makes expected, and mostly right."""
    assert {verdict["label"] for verdict in own} <= set(httpx.get(f"{shipped.url}/model", timeout=60).json()["classes"])
    low, high = (shipped.metric(f'mos_expected_in_ratio_bound{{side="{side}"}}') for side in ("low", "high"))
    print(f"{share_in(own):.1%} of {len(own)} CIFAR-100 test pictures are judged in; expected: {low:.1%} to {high:.1%}")
    # 1,000 pictures: a share is off by 0.03 in fewer than one of ten thousand draws.
    assert low - 0.03 <= share_in(own) <= high + 0.03
    right = [verdict["label"] == name for verdict, (name, _) in zip(own, cifar, strict=True)]
    assert sum(right) / len(right) >= 0.5


@pytest.mark.parametrize("archive", ["ood-textures.tar", "ood-omniglot.tar"])
def test_the_shipped_model_refuses_more_of_what_is_foreign(
    shipped: ServerProcess, shared_data: Path, own: list[dict[str, Any]], archive: str
) -> None:
    """Of textures and of handwriting fewer are in than of its own classes, and they score lower."""
    foreign = judge(shipped, [content for _, content in read_pictures(shared_data / archive, every=6)])
    assert share_in(foreign) <= share_in(own) - 0.05
    pairs = [one["score"] > other["score"] for one in own for other in foreign]
    assert sum(pairs) / len(pairs) >= 0.7  # the AUROC


def test_the_shipped_model_judges_odd_pictures(shipped: ServerProcess, photos: list[bytes]) -> None:
    """One pixel, a line, transparency, 16 bits, a palette, CMYK and grey: each has its verdict, by one rule."""
    photo = Image.open(io.BytesIO(photos[0])).convert("RGB").resize((60, 40))
    odd = {
        "pixel": photo.resize((1, 1)),
        "line": photo.resize((500, 2)),
        "palette": photo.convert("P"),
        "grey": photo.convert("L"),
        "bits": photo.convert("1"),
        "alpha": photo.convert("RGBA"),
        "sixteen": photo.convert("L").convert("I;16"),
    }
    files = []
    for picture in odd.values():
        buffer = io.BytesIO()
        picture.save(buffer, "PNG")
        files.append(buffer.getvalue())
    buffer = io.BytesIO()
    photo.convert("CMYK").save(buffer, "JPEG")
    assert len(judge(shipped, [*files, buffer.getvalue()])) == 8
