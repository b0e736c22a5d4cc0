"""The page's files over HTTP, and the pictures and scores that it asks for."""

import io
import re
import tomllib
from pathlib import Path, PurePath

import pytest
from PIL import Image

from service.bundle import CARD_PICTURE_FILE, Bundle
from service.http.page import routes
from tests.service.running_app import RunningApp, running_app
from tests.tiny_bundle import write_tiny_bundle

ROOT = Path(__file__).resolve().parents[4]
FOLDER = Path(routes.__file__).parent
FILES = sorted(file.name for file in FOLDER.iterdir() if file.suffix in {".css", ".js", ".svg"})


async def test_the_page_may_load_its_own_files_and_nothing_else(running: RunningApp) -> None:
    """No inline script or style, no other origin, no frame around it: the policy forbids them all."""
    answer = await running.client.get("/")
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    policy = dict(part.strip().partition(" ")[::2] for part in answer.headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert "unsafe" not in answer.headers["Content-Security-Policy"]


@pytest.mark.parametrize("name", FILES)
async def test_a_file_of_the_page_comes_as_what_it_is(running: RunningApp, name: str) -> None:
    """A browser runs a module, and applies a style sheet, only where the type says so."""
    answer = await running.client.get(f"/page/{name}")
    assert answer.content == (FOLDER / name).read_bytes()
    types = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
    assert answer.headers["Content-Type"].partition(";")[0] == types[Path(name).suffix]


@pytest.mark.parametrize("name", ["routes.py", "__init__.py", "page.html", "..%2f..%2fapp.py", "%2e%2e", "none.js"])
async def test_nothing_else_of_the_folder_is_served(running: RunningApp, name: str) -> None:
    """A path names one of the page's files or nothing."""
    assert (await running.client.get(f"/page/{name}")).status_code == 404


def test_whatever_the_page_names_is_there() -> None:
    """Every address in the page and every import between its modules leads to a file of the page."""
    addresses = re.findall(r'(?:src|href)="([^"]+)"', (FOLDER / "page.html").read_text(encoding="utf-8"))
    assert {address.removeprefix("page/") for address in addresses} <= set(FILES)
    for module in FOLDER.glob("*.js"):
        imported = re.findall(r'^import .* from "\./([^"]+)";$', module.read_text(encoding="utf-8"), re.M)
        assert set(imported) <= set(FILES), module.name


def test_every_file_of_the_page_is_installed() -> None:
    """The image holds what the wheel holds, and the wheel what pyproject.toml names."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    patterns = project["tool"]["setuptools"]["package-data"]["service"]
    for file in FOLDER.iterdir():
        if file.is_file() and file.suffix != ".py":
            assert any(PurePath("http/page", file.name).match(pattern) for pattern in patterns), file.name


async def test_the_page_can_be_closed(tiny_bundle: Bundle) -> None:
    """With MOS_PAGE=off there is neither the page nor what belongs to it."""
    async with running_app(tiny_bundle.path, page="off") as running:
        for path in ("/", "/page/page.js", "/model/card.png"):
            assert (await running.client.get(path)).status_code == 404, path


async def test_the_page_asks_for_the_key_itself(tiny_bundle: Bundle, tmp_path: Path) -> None:
    """The page and its files need no key, for one is typed into it; what it asks of the service does."""
    keys = tmp_path / "keys"
    keys.write_text("secret")
    async with running_app(tiny_bundle.path, api_keys_file=keys) as running:
        for path in ("/", "/page/page.js"):
            assert (await running.client.get(path)).status_code == 200, path
        for path in ("/model", "/model/card.png", "/page", "/page/a/b"):
            assert (await running.client.get(path)).status_code == 401, path


async def test_the_files_of_the_page_share_a_label(running: RunningApp) -> None:
    """However many files there are, and whatever callers ask for, there is one more series and not many."""
    for name in ("page.js", "page.css", "made-up.js"):
        await running.client.get(f"/page/{name}")
    assert running.sample("mos_requests_total", route="/page/{name}", code="200") == 2
    assert running.sample("mos_requests_total", route="/page/{name}", code="404") == 1


async def test_the_calibrations_picture_is_the_bundles(tmp_path: Path) -> None:
    """It comes as the calibration wrote it, as it was when the bundle was read; without one the answer is empty."""
    bundle = write_tiny_bundle(tmp_path / "bundle")
    async with running_app(bundle.path) as running:
        assert (await running.client.get("/model/card.png")).status_code == 204
    buffer = io.BytesIO()
    Image.new("RGB", (2, 2)).save(buffer, "PNG")
    (bundle.path / CARD_PICTURE_FILE).write_bytes(buffer.getvalue())
    async with running_app(bundle.path) as running:
        (bundle.path / CARD_PICTURE_FILE).write_bytes(b"of another calibration")
        answer = await running.client.get("/model/card.png")
    assert answer.content == buffer.getvalue()
    assert answer.headers["Content-Type"] == "image/png"


async def test_the_page_is_not_part_of_the_api(running: RunningApp) -> None:
    """The OpenAPI document lists what programs call."""
    paths = (await running.client.get("/openapi.json")).json()["paths"]
    assert not {"/", "/page/{name}", "/model/card.png"} & set(paths)
