"""What fuzzing has found keeps being read as promised, and so does what a few seeded mutations make of it."""

import random
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.fuzz.mutations import Mutation, of_pictures, of_tensors
from tests.fuzz.seeds import seeds
from tests.fuzz.targets import MEMORY_BYTES, TARGETS

CORPUS = Path(__file__).parent / "corpus"
MUTATIONS_PER_INPUT = 20
# The whole corpus stays in the repository, so it stays small.
MAX_CORPUS_BYTES = 400_000

each_target = pytest.mark.parametrize("name", TARGETS)


@pytest.fixture
def bounded_memory() -> Iterator[None]:
    """Let this process take no more memory than one input may; what wants more fails."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
    except FileNotFoundError:
        pytest.skip("the size of a process is not in /proc")
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY_BYTES, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def inputs(name: str) -> list[tuple[str, bytes]]:
    return [(path.name, path.read_bytes()) for path in sorted((CORPUS / name).iterdir())]


def try_all(target: Callable[[bytes], None], contents: list[tuple[str, bytes]]) -> None:
    """Fail with the first input that *target*, which holds the promises, does not take."""
    assert contents, "there is nothing to try"
    for name, content in contents:
        try:
            target(content)
        except BaseException as error:
            error.add_note(f"the input {name}: {content[:200]!r}")
            raise


@each_target
def test_the_corpus_is_read_as_promised(bounded_memory: None, name: str) -> None:
    """Each input that was kept, and each that the search begins with."""
    try_all(TARGETS[name], [*inputs(name), *((f"seed {i}", content) for i, content in enumerate(seeds(name)))])


@each_target
def test_mutations_of_the_corpus_are_read_as_promised(bounded_memory: None, name: str) -> None:
    """A few of each, the same at every run."""
    chance = random.Random(0)
    mutate: Mutation = {"decoder": of_pictures, "tensors": of_tensors}.get(name, lambda plain: plain)(_damaged)
    try_all(
        TARGETS[name],
        [
            (f"{kept}, mutated by {seed}", mutate(content, seed))
            for kept, content in inputs(name)
            for seed in (chance.randrange(2**32) for _ in range(MUTATIONS_PER_INPUT))
        ],
    )


def test_the_corpus_is_small() -> None:
    """It travels with every clone."""
    assert sum(path.stat().st_size for path in CORPUS.rglob("*")) < MAX_CORPUS_BYTES


def _damaged(content: bytes, seed: int) -> bytes:
    """A few bytes replaced, removed, added or moved."""
    chance, damaged = random.Random(seed), bytearray(content)
    for _ in range(chance.choice([1, 1, 2, 8])):
        begin = chance.randrange(len(damaged) + 1)
        end = min(len(damaged), begin + chance.choice([0, 1, 1, 4, 30]))
        new = chance.choice([chance.randbytes(end - begin), chance.randbytes(chance.randrange(5)), damaged[end:][:20]])
        damaged[begin:end] = new
    return bytes(damaged)
