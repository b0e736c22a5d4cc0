"""How pictures become bytes and bytes become requests."""

import io
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import httpx
import numpy as np
import pytest
from PIL import Image

from service.client.calls import BATCH_BYTES, BATCH_PICTURES, DEFAULT_WAIT_SECONDS, batches, encoded, retry_after
from service.preprocess import decode


def test_batches_keep_order_and_stay_within_both_limits() -> None:
    """Neither too many pictures nor too many bytes, unless one alone is too large."""
    contents = [b"x"] * (BATCH_PICTURES + 1) + [b"y" * (BATCH_BYTES // 2 + 1)] * 2 + [b"z" * (BATCH_BYTES + 1), b"x"]
    shared = [list(batch) for batch in batches(contents)]
    assert [content for batch in shared for content in batch] == contents
    assert all(len(batch) <= BATCH_PICTURES for batch in shared)
    assert all(len(batch) == 1 or sum(map(len, batch)) <= BATCH_BYTES for batch in shared)
    assert [len(batch) for batch in shared] == [BATCH_PICTURES, 2, 1, 1, 1]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV"])
def test_pictures_of_every_mode_travel(mode: str) -> None:
    """As a PNG of the same pixels."""
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    picture = Image.fromarray(pixels).convert(mode)
    received = decode(encoded(picture), height=8, width=8)
    if mode not in ("LA", "RGBA"):
        np.testing.assert_array_equal(received, np.asarray(picture.convert("RGB")))


def test_a_camera_that_was_turned_stays_known() -> None:
    """A picture that Pillow opened and nobody turned is turned by the service, as its file would be."""
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", exif=exif)
    opened = Image.open(io.BytesIO(file.getvalue()))
    np.testing.assert_array_equal(
        decode(encoded(opened), height=8, width=8), decode(file.getvalue(), height=8, width=8)
    )


@pytest.mark.parametrize(
    ("header", "seconds"), [("7", 7), ("0", 0), ("", DEFAULT_WAIT_SECONDS), ("soon", DEFAULT_WAIT_SECONDS)]
)
def test_retry_after_is_seconds(header: str, seconds: float) -> None:
    """Whatever else it says is the default."""
    assert retry_after(httpx.Response(429, headers={"Retry-After": header})) == seconds


def test_retry_after_may_be_a_date() -> None:
    """As RFC 9110 allows; one in the past is now."""
    for distance, low, high in ((100, 90, 101), (-100, 0, 0)):
        date = format_datetime(datetime.now(UTC) + timedelta(seconds=distance), usegmt=True)
        assert low <= retry_after(httpx.Response(503, headers={"Retry-After": date})) <= high
