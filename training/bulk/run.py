"""A whole source, part by part, into one folder; run again, it goes on with the parts that are missing.

OUT/run.json says which bundle, which calibration and which source the folder is of; another is refused.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from service.bundle import Bundle, read_bundle, sha256_hex
from service.errors import BundleError
from training.bulk.parts import DRAFTS_FOLDER, Results, drafts, score_part
from training.bulk.sources import Part, Source, count_of, kind_of, read_source
from training.bulk.tables import row_count
from training.errors import DataError
from training.files import locked, write_text
from training.progress import counting
from training.scoring.judging import LocalJudge

RUN_FILE = "run.json"
LISTING_FILE = "listing.parquet"
LOCK_FILE = "run.lock"


@dataclass(frozen=True)
class Job:
    """What every worker needs to know: where the bundle and the results are, by absolute paths."""

    bundle: Path
    results: Results


@dataclass(frozen=True)
class Summary:
    """What lies in the folder now, and how fast this run was; `pictures_a_second` None where it had nothing to do."""

    accepted: int
    rejected: int
    errors: int
    pictures_a_second: float | None

    @property
    def pictures(self) -> int:
        """All of them."""
        return self.accepted + self.rejected + self.errors


# Scores the parts and tells how many pictures more are done.
Workers = Callable[[Job, Mapping[int, Part], Callable[[int], None]], None]


def score(
    bundle_path: Path,
    data: Path,
    out: Path,
    *,
    part_size: int,
    column: str | None = None,
    key: str | None = None,
    workers: Workers | None = None,
) -> Summary:
    """Judge all pictures at *data* into the folder *out*, by *workers* or else in this process.

    Raises DataError where *out* is of another bundle, calibration or source, and what reading those raises.
    """
    bundle = read_bundle(bundle_path)
    job = Job(bundle.path.resolve(), Results(out.resolve(), identity_of(bundle)))
    # What one run drafts, another would take for left over.
    with locked(job.results.out / LOCK_FILE):
        source = _opened(job.results, data, part_size, column, key)
        missing = {number: part for number, part in enumerate(source.parts) if not job.results.has(number)}
        speed = _timed(workers or here, job, missing) if missing else None
        shutil.rmtree(job.results.drafts, ignore_errors=True)
        return _counted(job.results, len(source.parts), speed)


def here(job: Job, parts: Mapping[int, Part], advance: Callable[[int], None]) -> None:
    """Score the parts in this process."""
    judge = LocalJudge(read_bundle(job.bundle))
    for number, part in parts.items():
        score_part(judge, job.results, number, part, advance)


def identity_of(bundle: Bundle) -> dict[str, Any]:
    """What stands in the metadata of every result: whatever could make a verdict another. Raises BundleError."""
    manifest, calibration = bundle.manifest, bundle.calibration
    if calibration is None:
        raise BundleError(f"{bundle.path} is not calibrated; run `python -m training calibrate` on it.")
    return {
        "name": manifest.name,
        "version": manifest.version,
        "model_sha256": manifest.model_sha256,
        "preprocess_sha256": manifest.input.sha256,
        "calibration_sha256": sha256_hex(calibration.model_dump_json().encode()),
        "decided_by": manifest.decided_by,
        "threshold": calibration.threshold,
        "groups": [group.name for group in manifest.groups],
    }


def _opened(results: Results, data: Path, part_size: int, column: str | None, key: str | None) -> Source:
    """The source, once the folder is known to be of it; its listing is put into the folder only then."""
    if results.out.is_relative_to(data.resolve()) and kind_of(data) == "table":
        raise DataError(f"{results.out} lies in {data}, where its results would be pictures; name another folder.")
    with drafts(results) as folder:
        listing, draft = results.out / LISTING_FILE, folder / LISTING_FILE
        source = read_source(data, listing, draft, part_size=part_size, column=column, key=key)
        _check(results.out, {"bundle": results.metadata, "source": source.fingerprint, "part_size": part_size})
        if draft.exists():
            draft.replace(listing)
    return source


def _check(out: Path, run: Mapping[str, Any]) -> None:
    """Write down what the folder is of, or raise DataError where it is of something else already."""
    file = out / RUN_FILE
    if not file.exists():
        if any(entry.name not in (DRAFTS_FOLDER, LOCK_FILE) for entry in out.iterdir()):
            raise DataError(f"{out} holds something else than scores; name a folder that is new or empty.")
        write_text(file, json.dumps(run, indent=2) + "\n")
        return
    begun = json.loads(file.read_text("utf-8"))
    said = {"bundle": "another bundle or calibration", "source": "another source", "part_size": "another --part-size"}
    for name, words in said.items():
        if begun.get(name) != json.loads(json.dumps(run[name])):
            raise DataError(
                f"{out} was begun with {words} ({file} has which); name another folder, or remove this one."
            )


def _timed(workers: Workers, job: Job, parts: Mapping[int, Part]) -> float:
    """Score the parts; returns pictures a second."""
    done = 0
    with counting(count_of(parts.values()), "scoring") as advance:

        def count(pictures: int) -> None:
            nonlocal done
            done += pictures
            advance(pictures)

        started_at = time.monotonic()
        workers(job, parts, count)
        return done / (time.monotonic() - started_at)


def _counted(results: Results, parts: int, speed: float | None) -> Summary:
    """Count what lies in the folder, of earlier runs too."""
    judged = accepted = errors = 0
    for number in range(parts):
        decisions = pq.read_table(results.verdicts(number), columns=["decision"])["decision"]
        judged += len(decisions)
        accepted += pc.sum(pc.equal(decisions, "in")).as_py() or 0
        errors += row_count(results.errors(number)) if results.errors(number).exists() else 0
    return Summary(accepted, judged - accepted, errors, speed)
