"""Images come as raw bodies or as files of a form; a form is taken apart in bounds, and damage is an error."""

import pytest

from service.errors import BodyTooLarge, EmptyBody, MalformedBody, WrongFields
from service.http.form import SPARE_PARTS, many_images, one_image, parse_multipart

FORM = b"multipart/form-data; boundary=edge"


def part(name: str, content: bytes, filename: str | None = "x.png") -> bytes:
    disposition = f'form-data; name="{name}"' + (f'; filename="{filename}"' if filename is not None else "")
    return b"--edge\r\nContent-Disposition: " + disposition.encode() + b"\r\n\r\n" + content + b"\r\n"


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--edge--\r\n"


@pytest.mark.parametrize(
    "content_type", [b"", b"image/png", b"image/jpeg", b"application/octet-stream", b"text/plain", b"application/json"]
)
def test_a_raw_body_is_the_image_whatever_its_label(content_type: bytes) -> None:
    """Content-Type says only whether the body is a form."""
    assert one_image(b"bytes", content_type) == b"bytes"


@pytest.mark.parametrize("content", [b"", b"\r\n", b"--edge", b"a\r\n--edg\r\n", bytes(range(256)) * 500])
def test_a_file_of_a_form_is_its_exact_bytes(content: bytes) -> None:
    """Nothing is added or lost, also where the content looks like a boundary; other fields do not matter."""
    body = form(part("note", b"hello", filename=None), part("file", content))
    assert one_image(body, FORM) == content
    assert one_image(body, b'Multipart/Form-Data; charset=utf-8; boundary="edge"') == content


def test_many_files_keep_their_order() -> None:
    """The list is in the order of the form."""
    contents = [bytes([index]) * index for index in range(20)]
    assert many_images(form(*(part("files", content) for content in contents)), FORM, 20) == contents


def test_a_form_without_the_file_is_empty() -> None:
    """No part of the name that is asked for, no image."""
    for read in (lambda body: one_image(body, FORM), lambda body: many_images(body, FORM, 5)):
        for body in (form(part("image", b"x")), form()):
            with pytest.raises(EmptyBody):
                read(body)


def test_fields_of_a_wrong_shape_are_told() -> None:
    """A text field where a file is due, two files where one is due, no form where one is due."""
    with pytest.raises(WrongFields, match="text field"):
        one_image(form(part("file", b"x", filename=None)), FORM)
    with pytest.raises(WrongFields, match="several"):
        one_image(form(part("file", b"x"), part("file", b"y")), FORM)
    with pytest.raises(WrongFields, match="multipart"):
        many_images(b"x", b"image/png", 5)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no boundary at all",
        form(part("file", b"x"))[:-10],
        part("file", b"x"),
        b"--edge\r\nContent-Disposition: form-data\r\n\r\nx\r\n--edge--\r\n",
        b"--edge\r\nContent-Disposition: form-data; name=file\r\n" + b"A: b\r\n" * 1000 + b"\r\nx\r\n--edge--\r\n",
        b"--edge\r\nContent-Disposition: " + b"x" * 100_000 + b"\r\n\r\nx\r\n--edge--\r\n",
    ],
    ids=["empty", "no boundary", "cut off", "no end", "no name", "a thousand headers", "a long header"],
)
def test_a_damaged_form_is_malformed(body: bytes) -> None:
    """What cannot be taken apart with certainty is refused."""
    with pytest.raises(MalformedBody):
        one_image(body, FORM)


@pytest.mark.parametrize(
    "content_type", [b"multipart/form-data", b"multipart/form-data; boundary=", FORM + b"x" * 1000]
)
def test_a_form_without_a_usable_boundary_is_malformed(content_type: bytes) -> None:
    """Without its boundary a form cannot be read."""
    with pytest.raises(MalformedBody):
        one_image(form(part("file", b"x")), content_type)


def test_the_number_of_parts_is_bounded() -> None:
    """Too many files are refused, and so is a form of countless fields, before the rest of it is looked at."""
    with pytest.raises(BodyTooLarge, match="at most 2"):
        many_images(form(*[part("files", b"x")] * 3), FORM, 2)
    with pytest.raises(BodyTooLarge):
        one_image(form(*[part("note", b"x")] * (SPARE_PARTS + 2)), FORM)
    assert len(parse_multipart(form(*[part("a", b"")] * 3), b"edge", max_parts=3)) == 3
