"""How many images are in hand: what tells a run that has the machine to itself from one that shares it, or may wait."""

from types import TracebackType


class Load:
    """Counts images from when they are taken in hand, in a `with` block each, until they are answered.

    Of them *decoding* are no pixels yet. The event loop counts; any thread may read.
    """

    def __init__(self) -> None:
        self.images = 0
        self.decoding = 0

    def __enter__(self) -> None:
        self.images += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.images -= 1
