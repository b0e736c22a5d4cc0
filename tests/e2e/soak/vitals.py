"""What a process holds while it serves: memory, descriptors and threads, as Linux counts them."""

import re
import statistics
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

INTERVAL_SECONDS = 0.5


class Sample(NamedTuple):
    """One look at the process."""

    seconds: float
    memory_bytes: int  # proportional set size
    descriptors: int
    threads: int


@dataclass
class Vitals:
    """Looks at a process twice a second while the block runs."""

    process_id: int
    samples: list[Sample] = field(default_factory=list)
    _is_over: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over.set()
        self._thread.join()

    def median(self, name: str, begin: float, end: float) -> float:
        """The median of what lies between two shares of the whole time."""
        chosen = self.samples[int(begin * len(self.samples)) : max(1, int(end * len(self.samples)))]
        return statistics.median(getattr(sample, name) for sample in chosen)

    def most(self, name: str) -> float:
        """The most that there ever was."""
        return max(getattr(sample, name) for sample in self.samples)

    def growth(self, name: str) -> float:
        """How much more there is in the last fifth than in the second."""
        return self.median(name, 0.8, 1.0) - self.median(name, 0.2, 0.4)

    def _watch(self) -> None:
        proc, begin = Path(f"/proc/{self.process_id}"), time.monotonic()
        while not self._is_over.wait(INTERVAL_SECONDS):
            memory = re.search(r"^Pss:\s+(\d+) kB", (proc / "smaps_rollup").read_text(), re.MULTILINE)
            assert memory is not None
            descriptors, threads = (sum(1 for _ in (proc / name).iterdir()) for name in ("fd", "task"))
            self.samples.append(Sample(time.monotonic() - begin, 1024 * int(memory[1]), descriptors, threads))
