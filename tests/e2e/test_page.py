"""The page in a real browser, against a real server process: what people see is what the service answered."""

import io
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, FilePayload, Page, expect, sync_playwright

from service.settings import DEFAULT_BUNDLE
from tests.server_process import ServerProcess, running_server
from tests.tiny_bundle import png, write_tiny_bundle

pytestmark = pytest.mark.e2e

CHROMIUM = Path("/usr/bin/chromium")
# A camera that shows a test pattern, and a browser that lets every page see it.
ARGUMENTS = ["--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]
PATIENCE_MS = 60_000
expect.set_options(timeout=PATIENCE_MS)

# The tiny model knows pure colours, so this is one of its own and that is not.
RED = FilePayload(name="red.png", mimeType="image/png", buffer=png((235, 20, 20)))
GREY = FilePayload(name="grey.png", mimeType="image/png", buffer=png((128, 128, 128)))
BROKEN = FilePayload(name="broken.png", mimeType="image/png", buffer=png((235, 20, 20))[:40])
TEXT = FilePayload(name="notes.txt", mimeType="text/plain", buffer=b"not a picture")
# Makes a DataTransfer of files given as {name, type, bytes}, as a drop and a paste carry.
TRANSFER = """(files) => {
  const transfer = new DataTransfer();
  for (const { name, type, bytes } of files) transfer.items.add(new File([new Uint8Array(bytes)], name, { type }));
  return transfer;
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is not installed")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("tiny")
    with running_server(folder, bundle=write_tiny_bundle(folder / "bundle").path, deadline_ms=120_000) as server:
        server.wait_until_ready()
        yield server


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with running_server(tmp_path_factory.mktemp("shipped"), deadline_ms=120_000) as server:
        server.wait_until_ready()
        yield server


@dataclass
class Visit:
    """A page that is open, and what went wrong on it."""

    page: Page
    errors: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)

    @property
    def verdict(self) -> dict[str, Any]:
        """The answer that is shown, as JSON."""
        answer: dict[str, Any] = json.loads(self.page.locator("#verdict pre").text_content() or "")
        return answer

    def expect_state(self, state: str) -> None:
        expect(self.page.locator("#verdict")).to_have_attribute("data-state", state)

    def pick(self, *files: FilePayload) -> None:
        self.page.set_input_files("#files", list(files))


@contextmanager
def visit(browser: Browser, server: ServerProcess, *, refusals: int = 0, **options: Any) -> Iterator[Visit]:
    """Open the page; afterwards nothing but so many refused requests was complained of, and nothing left the origin."""
    context: BrowserContext = browser.new_context(**options)
    visited = Visit(context.new_page())
    visited.page.on("console", lambda message: visited.errors.append(message.text))
    visited.page.on("pageerror", lambda error: visited.errors.append(str(error)))
    visited.page.on("request", lambda request: visited.foreign.append(request.url))
    visited.page.goto(f"{server.url}/")
    yield visited
    refused = [error for error in visited.errors if error.startswith("Failed to load resource")]
    assert visited.errors == refused
    assert len(refused) == refusals, refused
    assert [url for url in visited.foreign if not url.removeprefix("blob:").startswith(f"{server.url}/")] == []
    context.close()


def transfer(visited: Visit, *files: FilePayload) -> Any:
    described = [{"name": f["name"], "type": f["mimeType"], "bytes": list(f["buffer"])} for f in files]
    return visited.page.evaluate_handle(TRANSFER, described)


def test_a_dropped_picture_gets_the_verdict_of_the_api(browser: Browser, shipped: ServerProcess) -> None:
    """What the page shows, in words, numbers and bars, is what POST /predict answers on the same bytes."""
    content = (DEFAULT_BUNDLE / "canary/turned.jpg").read_bytes()
    answered = httpx.post(f"{shipped.url}/predict", content=content, timeout=60).json()
    picture = FilePayload(name="turned.jpg", mimeType="image/jpeg", buffer=content)
    with visit(browser, shipped) as visited:
        page = visited.page
        page.locator("body").dispatch_event("drop", {"dataTransfer": transfer(visited, picture)})
        visited.expect_state(answered["decision"])
        assert visited.verdict == answered | {"request_id": visited.verdict["request_id"]}
        headline = {"in": "In distribution", "out": "Out of distribution"}[answered["decision"]]
        expect(page.locator("#verdict-title")).to_contain_text(headline)
        expect(page.locator(".class strong")).to_have_text(answered["label"])
        expect(page.locator(".why")).to_contain_text(f"{answered['p_value']:.4f}")
        groups = page.locator(".bars").first.locator("tbody tr")
        closest = min(answered["others_scores"], key=answered["others_scores"].get)
        expect(groups).to_have_count(10)
        expect(groups.first).to_contain_text(closest)
        page.get_by_role("button", name="Show all 20 groups").click()
        expect(groups).to_have_count(20)
        expect(page.locator(".facts")).to_contain_text(re.compile("decode.*queue.*inference.*round trip"))


def test_the_score_and_the_threshold_stand_where_they_are(browser: Browser, tiny: ServerProcess) -> None:
    """On the drawn distribution a picture that is out lies left of the threshold, and one that is in right of it."""
    with visit(browser, tiny) as visited:
        for picture, state in ((RED, "in"), (GREY, "out")):
            visited.pick(picture)
            visited.expect_state(state)
            at = {
                mark: visited.page.locator(f".mark.{mark}").evaluate("mark => mark.getBoundingClientRect().x")
                for mark in ("score", "threshold")
            }
            assert (at["score"] > at["threshold"]) == (state == "in")
            drawn = visited.page.locator(".plot").get_attribute("aria-label")
            assert f"{visited.verdict['threshold']:.4f}".replace("-", "\u2212") in (drawn or "")


def test_several_pictures_are_judged_each_for_itself(browser: Browser, tiny: ServerProcess) -> None:
    """A grid with the verdict of each; a broken picture and a text file fail alone, in the service's own words."""
    with visit(browser, tiny, refusals=2) as visited:
        visited.pick(RED, GREY, BROKEN, TEXT)
        expect(visited.page.locator("#tally")).to_have_text("4 pictures: 1 in, 1 out, 2 not judged")
        expect(visited.page.get_by_role("status").last).to_have_text("4 pictures: 1 in, 1 out, 2 not judged")
        for tile, (state, said) in enumerate(
            [("in", "red"), ("out", ""), ("refused", "Corrupt image"), ("refused", "Unsupported format")]
        ):
            found = visited.page.locator(".tile").nth(tile)
            expect(found).to_have_attribute("data-state", state)
            expect(found).to_contain_text(said)
            found.click()
            visited.expect_state(state)
        problem = visited.verdict
        assert (problem["status"], problem["code"]) == (415, "unsupported_format")
        expect(visited.page.locator(".problem")).to_contain_text(problem["detail"])


def test_a_pasted_picture_is_judged(browser: Browser, tiny: ServerProcess) -> None:
    """A picture in the clipboard needs no file."""
    with visit(browser, tiny) as visited:
        visited.page.evaluate(
            "(data) => document.dispatchEvent(new ClipboardEvent('paste', { clipboardData: data }))",
            transfer(visited, GREY),
        )
        visited.expect_state("out")


def test_the_camera_takes_a_picture(browser: Browser, tiny: ServerProcess) -> None:
    """What the camera shows is judged, and the camera is off afterwards."""
    with visit(browser, tiny) as visited:
        visited.page.get_by_role("button", name="Use the camera").click()
        visited.page.get_by_role("button", name="Take the picture").click()
        expect(visited.page.locator("#verdict .note").first).to_contain_text("camera.jpg")
        expect(visited.page.locator("#verdict pre")).to_contain_text("others_scores")
        expect(visited.page.locator("#camera")).to_be_hidden()
        assert visited.page.evaluate("document.getElementById('viewfinder').srcObject") is None


def test_all_of_it_works_by_keyboard(browser: Browser, tiny: ServerProcess) -> None:
    """Choose, walk through the pictures, unfold the answer: with Tab, Enter and Space alone."""
    with visit(browser, tiny) as visited:
        page, keyboard = visited.page, visited.page.keyboard
        # Heard from the beginning: Playwright turns its hearing of choosers on in the browser, and that takes a while.
        page.on("filechooser", lambda chooser: chooser.set_files([RED, GREY]))
        expect(page.locator("#card")).to_be_visible()
        keyboard.press("Tab")
        expect(page.locator("#files")).to_be_focused()
        keyboard.press("Enter")
        expect(page.locator("#tally")).to_have_text("2 pictures: 1 in, 1 out")
        for name in ("Use the camera", "Clear", "red"):
            keyboard.press("Tab")
            expect(page.locator(":focus")).to_contain_text(name)
        keyboard.press("Tab")
        keyboard.press("Space")
        visited.expect_state("out")
        keyboard.press("Tab")
        keyboard.press("Enter")
        expect(page.locator("#verdict pre")).to_be_visible()


def test_a_key_is_asked_for_and_kept_in_memory(browser: Browser, tmp_path: Path) -> None:
    """A wrong key is refused; with a right one the picture that waits is judged; the browser stores nothing."""
    (tmp_path / "keys").write_text("open sesame")
    bundle = write_tiny_bundle(tmp_path / "bundle").path
    with running_server(tmp_path, bundle=bundle, api_keys_file=tmp_path / "keys", deadline_ms=120_000) as server:
        server.wait_until_ready()
        with visit(browser, server, refusals=2) as visited:  # the model card, without a key and with a wrong one
            page = visited.page
            field = page.get_by_label("API key")
            expect(field).to_be_focused()
            visited.pick(RED)
            visited.expect_state("waiting")
            field.fill("guess")
            page.keyboard.press("Enter")
            expect(page.get_by_role("alert").first).to_contain_text("does not know it")
            require_no_violation(page)
            field.fill("open sesame")
            page.keyboard.press("Enter")
            visited.expect_state("in")
            expect(page.locator("#key")).to_be_hidden()
            assert page.evaluate("[localStorage.length, sessionStorage.length, document.cookie]") == [0, 0, ""]
            assert "sesame" not in page.url + page.content()


def test_a_narrow_screen_needs_no_scrolling_sideways(browser: Browser, shipped: ServerProcess) -> None:
    """At the width of a phone everything is as wide as the screen, with one picture and with many."""
    with visit(browser, shipped, viewport={"width": 390, "height": 844}) as visited:
        page = visited.page
        expect(page.locator("#card")).to_be_visible()
        for files in ([], [RED], [GREY, RED, GREY, RED]):
            visited.pick(*files)
            expect(page.locator("#verdict")).not_to_have_attribute("data-state", "waiting")
            assert page.evaluate("document.documentElement.scrollWidth") == 390


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_keeps_nobody_out(browser: Browser, shipped: ServerProcess, scheme: str) -> None:
    """axe finds nothing, in light and in dark, without a picture, with one and with many of every kind."""
    grounds = {"light": "rgb(244, 246, 248)", "dark": "rgb(16, 21, 28)"}
    noise = FilePayload(name="noise.png", mimeType="image/png", buffer=_noise())
    with visit(browser, shipped, refusals=2, color_scheme=scheme) as visited:
        page = visited.page
        expect(page.locator("#card")).to_be_visible()
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == grounds[scheme]
        require_no_violation(page)
        visited.pick(noise)
        visited.expect_state("out")
        require_no_violation(page)
        visited.pick(RED, BROKEN, TEXT)
        expect(page.locator("#tally")).to_contain_text("2 not judged")
        for tile in range(1, 3):
            page.locator(".tile").nth(tile).click()
            require_no_violation(page)
        page.locator("#camera-open").click()
        require_no_violation(page)


def require_no_violation(page: Page) -> None:
    results = Axe().run(page)
    assert results.violations_count == 0, results.generate_report()


def _noise() -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((96, 96), 90).convert("RGB").save(buffer, "PNG")
    return buffer.getvalue()
