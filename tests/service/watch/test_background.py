"""What waits for a slow sink is bounded, what is dropped is counted, and nobody waits."""

import threading

from service.watch.background import MAX_WAITING, BackgroundWriter


def test_everything_is_written_in_order() -> None:
    """A sink that takes all loses nothing, whatever was still waiting at the end."""
    written: list[int] = []

    def write(items: list[int]) -> int:
        written.extend(items)
        return len(items)

    writer = BackgroundWriter(write, name="test")
    for number in range(5_000):
        writer.add(number)
    writer.close()
    assert written == list(range(5_000))
    assert writer.dropped == 0


def test_a_blocked_sink_costs_items_not_time() -> None:
    """While the sink hangs, `add` returns; what finds no room is counted, and the rest is written afterwards."""
    hangs, may_go_on = threading.Event(), threading.Event()
    written: list[int] = []

    def write(items: list[int]) -> int:
        hangs.set()
        may_go_on.wait()
        written.extend(items)
        return len(items)

    writer = BackgroundWriter(write, name="test")
    writer.add(-1)
    hangs.wait()
    for number in range(MAX_WAITING + 7):
        writer.add(number)
    assert writer.dropped == 7
    may_go_on.set()
    writer.close()
    assert written == [-1, *range(MAX_WAITING)]


def test_what_the_sink_does_not_take_is_counted() -> None:
    """A sink says how many of the items it wrote; the others are lost."""
    writer = BackgroundWriter(lambda items: len(items) // 2, name="test")
    for number in range(10):
        writer.add(number)
    writer.close()
    assert writer.dropped >= 5
