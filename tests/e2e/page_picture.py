"""Take the README's picture of the page: drawn pictures judged by the shipped model, one of them out.

python -m tests.e2e.page_picture training/figures/page.png
"""

import io
import math
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter
from playwright.sync_api import FilePayload, expect, sync_playwright

from tests.server_process import running_server

CHROMIUM = Path("/usr/bin/chromium")
SIDE = 384
COLORS = 256


def apple() -> Image.Image:
    """A red apple on a table, shaded as a ball."""
    ground = (246, 244, 240)
    image = Image.new("RGB", (SIDE, SIDE), ground)
    ImageDraw.Draw(image).ellipse((80, 300, 320, 350), fill=(170, 168, 165))
    pixels = np.asarray(image.filter(ImageFilter.GaussianBlur(14))).astype(float)
    y, x = np.mgrid[0:SIDE, 0:SIDE]
    u, v = (x - 192) / 125, (y - 205) / 120
    light = np.clip(0.76 * np.sqrt(np.clip(1 - u**2 - v**2, 0, 1)) - 0.4 * u - 0.5 * v, 0, 1)[..., None]
    skin = np.array([200, 30, 36]) * (0.35 + 0.75 * light) + 255 * 0.5 * light**18
    image = Image.fromarray(np.where((u**2 + v**2 < 1)[..., None], skin, pixels).clip(0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    draw.ellipse((165, 86, 219, 112), fill=(90, 13, 16))
    draw.line((192, 100, 204, 45), fill=(92, 62, 34), width=10)
    draw.polygon([(206, 66), (250, 36), (292, 44), (262, 74), (222, 80)], fill=(76, 140, 52))
    return image.filter(ImageFilter.GaussianBlur(1.2))


def sunflower() -> Image.Image:
    """A sunflower in a meadow."""
    meadow = np.random.default_rng(1).normal([50, 100, 40], 18, (SIDE, SIDE, 3)).clip(0, 255).astype(np.uint8)
    image = Image.fromarray(meadow).filter(ImageFilter.GaussianBlur(5))
    draw = ImageDraw.Draw(image)
    for petal in range(16):
        cosine, sine = math.cos(math.pi * petal / 8), math.sin(math.pi * petal / 8)
        x, y = 192 + 110 * cosine, 192 + 110 * sine
        tip = (192 + 172 * cosine, 192 + 172 * sine)
        fill = (250, 200, 40) if petal % 2 else (212, 170, 34)
        draw.polygon([(192, 192), (x - 26 * sine, y + 26 * cosine), tip, (x + 26 * sine, y - 26 * cosine)], fill=fill)
    draw.ellipse((132, 132, 252, 252), fill=(80, 50, 22))
    return image.filter(ImageFilter.GaussianBlur(1.5))


def circuit_board() -> Image.Image:
    """A circuit board, which is no class of the shipped model."""
    random = np.random.default_rng(5)
    image = Image.new("RGB", (SIDE, SIDE), (20, 80, 50))
    draw = ImageDraw.Draw(image)
    for _ in range(60):
        x, y = (16 * int(step) for step in random.integers(0, 24, 2))
        right, down = (16 * int(step) for step in random.integers(-6, 6, 2))
        draw.line((x, y, x + right, y), fill=(190, 160, 80), width=4)
        draw.line((x, y, x, y + down), fill=(190, 160, 80), width=4)
        draw.ellipse((x - 6, y - 6, x + 6, y + 6), fill=(220, 200, 120))
    for _ in range(4):
        x, y = (16 * int(step) for step in random.integers(2, 16, 2))
        draw.rectangle((x, y, x + 80, y + 48), fill=(25, 25, 28))
    return image


def take(url: str, pictures: dict[str, Image.Image]) -> bytes:
    """Return a PNG of the page at *url* with *pictures* judged, the first of them shown."""
    files = []
    for name, picture in pictures.items():
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=92)
        files.append(FilePayload(name=name, mimeType="image/jpeg", buffer=buffer.getvalue()))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1200, "height": 860}, color_scheme="light")
        page.goto(url)
        expect(page.locator("#card")).to_be_visible()
        page.set_input_files("#files", files)
        expect(page.locator("#tally")).to_have_text("3 pictures: 2 in, 1 out")
        page.mouse.move(0, 0)
        taken = page.screenshot()
        browser.close()
    return taken


def main() -> None:
    """Write the picture to the path given, in few colours, since a README is loaded often."""
    pictures = {"board.jpg": circuit_board(), "apple.jpg": apple(), "sunflower.jpg": sunflower()}
    with tempfile.TemporaryDirectory() as folder, running_server(Path(folder)) as server:
        server.wait_until_ready()
        taken = take(f"{server.url}/", pictures)
    Image.open(io.BytesIO(taken)).convert("RGB").quantize(COLORS).save(sys.argv[1], optimize=True)


if __name__ == "__main__":
    main()
