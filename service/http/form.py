"""A whole body to the encoded images in it: raw, or as files of a multipart form."""

from typing import Any, NamedTuple

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from service.errors import BodyTooLarge, EmptyBody, MalformedBody, WrongFields

# Beside the files a form may have a few fields that nobody reads; more than these are refused.
SPARE_PARTS = 16


class Part(NamedTuple):
    """One part of a multipart body; a file has a filename, a plain field has none."""

    name: str
    filename: str | None
    content: bytes


def one_image(content: bytes, content_type: bytes) -> bytes:
    """Return the image of a raw body, whatever its label, or of the one file `file` of a multipart body."""
    boundary = _boundary(content_type)
    if boundary is None:
        return content
    parts = [part for part in parse_multipart(content, boundary, max_parts=1 + SPARE_PARTS) if part.name == "file"]
    if not parts:
        raise EmptyBody("The form has no part `file`; send the image as a file of that name.")
    if len(parts) > 1:
        raise WrongFields("The form has several parts `file`; send one, or many as `files` to /predict/batch.")
    return _file(parts[0])


def many_images(content: bytes, content_type: bytes, max_files: int) -> list[bytes]:
    """Return the files `files` of a multipart body, in order."""
    boundary = _boundary(content_type)
    if boundary is None:
        raise WrongFields("The body is not multipart/form-data; send a form with the images as files `files`.")
    parts = [
        part for part in parse_multipart(content, boundary, max_parts=max_files + SPARE_PARTS) if part.name == "files"
    ]
    if not parts:
        raise EmptyBody("The form has no part `files`; send each image as a file of that name.")
    if len(parts) > max_files:
        raise BodyTooLarge(f"The form has {len(parts)} files; send at most {max_files} at a time.")
    return [_file(part) for part in parts]


def _file(part: Part) -> bytes:
    if part.filename is None:
        raise WrongFields(f"The part `{part.name}` is a text field; send it as a file, with a filename.")
    return part.content


def _boundary(content_type: bytes) -> bytes | None:
    """Return the boundary of a multipart content type, None for any other type."""
    if content_type[:10].lower() != b"multipart/":
        return None
    _, options = parse_options_header(content_type)
    if not options.get(b"boundary"):
        raise MalformedBody("The Content-Type names no boundary; send it as RFC 7578 says.")
    return options[b"boundary"]


def parse_multipart(body: bytes, boundary: bytes, *, max_parts: int) -> list[Part]:
    """Take a whole multipart/form-data body apart, in order.

    Raises MalformedBody where it is damaged or cut off, BodyTooLarge for more than *max_parts* parts.
    """
    # A file with many lines that begin as a boundary does is in nobody's form, and takes seconds to be told from one.
    if body.count(b"\r\n--" + boundary) > max_parts + 1:
        raise _too_many(max_parts)
    form = _Form(max_parts)
    try:
        parser = MultipartParser(boundary, form.callbacks())  # type: ignore[arg-type]
        parser.write(body)
        parser.finalize()
    except FormParserError as error:
        raise MalformedBody("The multipart body is damaged; send it as RFC 7578 says.") from error
    if not form.is_complete:
        raise MalformedBody("The multipart body ends before its last boundary; send it whole.")
    return form.parts


def _too_many(max_parts: int) -> BodyTooLarge:
    return BodyTooLarge(f"The form has more than {max_parts} parts; send fewer.")


class _Form:
    """Collects the callbacks of the multipart parser into parts."""

    def __init__(self, max_parts: int) -> None:
        self.parts: list[Part] = []
        self.is_complete = False
        self._max_parts = max_parts

    def callbacks(self) -> dict[str, Any]:
        return {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._field.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
            "on_header_end": self._end_header,
            "on_part_data": lambda data, start, end: self._pieces.append(data[start:end]),
            "on_part_end": self._end,
            "on_end": self._complete,
        }

    def _begin(self) -> None:
        if len(self.parts) >= self._max_parts:
            raise _too_many(self._max_parts)
        self._field = bytearray()
        self._value = bytearray()
        self._disposition = b""
        self._pieces: list[bytes] = []

    def _end_header(self) -> None:
        if self._field.lower() == b"content-disposition":
            self._disposition = bytes(self._value)
        self._field.clear()
        self._value.clear()

    def _end(self) -> None:
        _, options = parse_options_header(self._disposition)
        if b"name" not in options:
            raise MalformedBody("A part of the multipart body has no name; give each part one.")
        filename = options.get(b"filename")
        self.parts.append(
            Part(
                options[b"name"].decode(errors="replace"),
                None if filename is None else filename.decode(errors="replace"),
                b"".join(self._pieces),
            )
        )

    def _complete(self) -> None:
        self.is_complete = True
