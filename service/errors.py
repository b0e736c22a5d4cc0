"""Every error the project raises on purpose; knows no HTTP.

    MosGuardError
    ├── InputError                what the caller sent cannot be judged
    │   ├── EmptyBody
    │   ├── MalformedBody
    │   ├── WrongFields
    │   ├── CorruptImage
    │   ├── UnsupportedFormat
    │   ├── BodyTooLarge
    │   ├── TooManyPixels
    │   ├── BodyTimeout
    │   └── UnknownModel
    ├── Unauthorized
    ├── Overloaded                retry_after_seconds
    ├── DeadlineExceeded
    ├── NotReady
    ├── NotWritten
    ├── ModelOutputError
    ├── SettingError
    ├── BundleError
    └── ProviderError

A message is one sentence that names the thing and the remedy. It never holds the text of a decoder or
of the runtime: that travels as `__cause__`, for the log alone.
"""


class MosGuardError(Exception):
    """Base of every error below."""


class InputError(MosGuardError):
    """What the caller sent cannot be judged; the same bytes will fail again."""


class EmptyBody(InputError):
    """There are no image bytes at all."""


class MalformedBody(InputError):
    """The multipart body cannot be taken apart."""


class WrongFields(InputError):
    """The body is sound, but its fields have a wrong shape."""


class CorruptImage(InputError):
    """The bytes are of an allowed format, but truncated, damaged or doubtful."""


class UnsupportedFormat(InputError):
    """The bytes, whatever their label says, are of no allowed format."""


class BodyTooLarge(InputError):
    """The body holds more bytes than the service takes."""


class TooManyPixels(InputError):
    """The header announces more pixels, or a longer side, than may be decoded."""


class BodyTimeout(InputError):
    """The body came too slowly."""


class UnknownModel(InputError):
    """The request is for a model, or a version, that is not the one in service."""


class Unauthorized(MosGuardError):
    """The key is missing or wrong."""


class Overloaded(MosGuardError):
    """The queue is full; `retry_after_seconds` says when there will be room."""

    def __init__(self, message: str, *, retry_after_seconds: float) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class DeadlineExceeded(MosGuardError):
    """The answer would come after the request's deadline."""


class NotReady(MosGuardError):
    """The service is starting or draining, or has lost its model or GPU."""


class NotWritten(MosGuardError):
    """What must be kept could not be written; nothing was lost, since the caller still has it."""


class ModelOutputError(MosGuardError):
    """The model put out NaN, Inf, a wrong shape or a wrong count: no verdict can rest on it."""


class SettingError(MosGuardError):
    """A setting names what cannot be used."""


class BundleError(MosGuardError):
    """A bundle that must not be served."""


class ProviderError(MosGuardError):
    """The execution provider asked for is not the one in use."""
