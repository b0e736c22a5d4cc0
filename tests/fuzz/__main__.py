"""Look for inputs that break what a reader promises, guided by the coverage that they reach: `python -m tests.fuzz`.

What reaches new code is added to the kept corpus with `--keep`, smallest first. An input that breaks a promise ends the
run, and its file is named at the end: mend the reader, then give the file a telling name in the corpus.
"""

import argparse
import logging
import subprocess
import sys
from pathlib import Path

import atheris

CORPUS = Path(__file__).parent / "corpus"
# Enough for every construct of a format; short inputs are tried more often, and kept ones are small.
MAX_BYTES = {"decoder": 4096, "form": 1024, "tensors": 2048, "http": 1024}

with atheris.instrument_imports(include=["service", "PIL", "python_multipart", "uvicorn"]):
    import PIL.JpegImagePlugin
    import PIL.PngImagePlugin  # noqa: F401  which Pillow loads when it needs them, outside this block

    from tests.fuzz.targets import MEMORY_BYTES, SECONDS, TARGETS

from tests.fuzz.mutations import of_pictures, of_tensors  # noqa: E402
from tests.fuzz.seeds import seeds  # noqa: E402

MUTATIONS = {"decoder": of_pictures, "tensors": of_tensors}


def fuzz(target: str, arguments: list[str]) -> None:
    """Hand *target* over to libFuzzer, with its own *arguments*; the process ends with it."""

    def mutate(content: bytes, max_bytes: int, seed: int) -> bytes:
        plain = MUTATIONS[target](lambda part, _: atheris.Mutate(part, max_bytes))
        return plain(content, seed)[:max_bytes]

    logging.disable()
    limits = [f"-max_len={MAX_BYTES[target]}", f"-timeout={SECONDS}", f"-rss_limit_mb={2 * MEMORY_BYTES >> 20}"]
    own = {"custom_mutator": mutate} if target in MUTATIONS else {}
    # A merge starts itself again, through a shell, by the first of its arguments.
    itself = f"{sys.executable} -m tests.fuzz {target} --libfuzzer"
    atheris.Setup([itself, *limits, *arguments], TARGETS[target], **own)
    atheris.Fuzz()


def main() -> None:
    """Fuzz in a process of its own, which libFuzzer ends; then keep what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--seconds", type=int, default=60, help="how long to look (60)")
    parser.add_argument("--seed", type=int, default=1, help="of the mutations (1)")
    parser.add_argument(
        "--work", type=Path, default=Path("build/fuzz"), help="where all that is found lies (build/fuzz)"
    )
    parser.add_argument("--keep", action="store_true", help="add what reaches new code to the corpus in tests/fuzz")
    parser.add_argument("--libfuzzer", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.libfuzzer is not None:
        fuzz(given.target, given.libfuzzer)
    found, kept = given.work / given.target, CORPUS / given.target
    for folder in (found, kept):
        folder.mkdir(parents=True, exist_ok=True)
    for number, content in enumerate(seeds(given.target)):
        (found / f"seed-{number:02}").write_bytes(content)
    run = [sys.executable, "-m", "tests.fuzz", given.target, "--libfuzzer"]
    look = [
        f"-max_total_time={given.seconds}",
        f"-seed={given.seed}",
        f"-artifact_prefix={given.work}/",
        "-print_final_stats=1",
    ]
    ended = subprocess.run([*run, *look, str(found), str(kept)], check=False)
    if given.keep and ended.returncode == 0:
        subprocess.run([*run, "-merge=1", str(kept), str(found)], check=True)
    sys.exit(ended.returncode)


if __name__ == "__main__":
    main()
