"""The rows of a folder as Markdown."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tests.benchmarks.gpu.results import Row, read_rows

PARTS = ("rates", "engine", "tensorrt", "torch", "service")


def table(folder: Path) -> str:
    """What was measured, device by device; a device's own rates come first."""
    rows = {name: read_rows(folder / f"{name}.jsonl") for name in PARTS}
    devices = sorted({(row["device"], row["quick"]) for part in rows.values() for row in part})
    blocks = []
    for device, quick in devices:
        own = {name: [r for r in part if (r["device"], r["quick"]) == (device, quick)] for name, part in rows.items()}
        name = next((row["name"] for row in own["rates"] if "name" in row), device)
        blocks.append(f"## {name}{' (quick: the numbers mean nothing)' if quick else ''}")
        blocks += [_rates(own["rates"]), _models(own), _service(own["service"]), _failures(own)]
    return "\n\n".join(filter(None, blocks)) + "\n"


def _rates(rows: list[Row]) -> str:
    lines = [[row["way"], row.get("precision", ""), _rate(row)] for row in rows if "failed" not in row]
    return _markdown(["rate of the device", "precision", ""], lines)


def _rate(row: Row) -> str:
    return f"{row['flops'] / 1e12:.3g} TFLOP/s" if "flops" in row else f"{row['bytes_per_second'] / 1e9:.3g} GB/s"


def _models(own: dict[str, list[Row]]) -> str:
    """Pictures a second by batch size, the best one's share of the matrix rate, and by how much MOS moved."""
    rates = {row["precision"]: row["flops"] for row in own["rates"] if "flops" in row}
    measured = [row | {"by": by} for by in ("engine", "tensorrt", "torch") for row in own[by] if "failed" not in row]
    sizes = sorted({row["batch"] for row in measured})
    lines: dict[tuple[str, str, str, str], dict[int, Row]] = {}
    for row in measured:
        by = "torch" if row["by"] == "torch" else "ONNX Runtime"
        lines.setdefault((row["model"], row["precision"], by, row["way"]), {})[row["batch"]] = row
    cells = []
    for key, by_size in sorted(lines.items()):
        best = max(by_size.values(), key=lambda row: row["images_per_second"])
        # What is no rate of its own, such as float16 on a CPU, is told as a share of float32's.
        rate = rates.get(key[1], rates.get("float32"))
        share = f"{best['images_per_second'] * best['flops'] / rate:.2f}" if rate else ""
        moved = f"{best['moved']:.1e}" if "moved" in best else ""
        per_second = [f"{by_size[size]['images_per_second']:.4g}" if size in by_size else "" for size in sizes]
        cells.append([*key, *per_second, share, moved])
    head = ["model", "precision", "by", "way", *(f"batch {size}" for size in sizes), "of the rate", "moved"]
    return _markdown(head, cells)


def _service(rows: list[Row]) -> str:
    cells = []
    for row in rows:
        name = [row["model"], row.get("precision", ""), row["way"]]
        if "images_per_second" in row:
            cells.append([*name, "", f"{row['images_per_second']:.4g}", "", ""])
        for clients, load in row.get("by_clients", {}).items():
            figures = [f"{load[figure]:.4g}" for figure in ("requests_per_second", "p50_ms", "p99_ms")]
            cells.append([*name, clients, *figures])
    return _markdown(["service", "precision", "way", "clients", "a second", "p50 ms", "p99 ms"], cells)


def _failures(own: dict[str, list[Row]]) -> str:
    """What could not be measured, said once for each reason."""
    said: dict[str, None] = {}
    for part, rows in own.items():
        for row in rows:
            if "failed" in row:
                named = " ".join(str(row[name]) for name in ("model", "precision", "way") if name in row)
                said[f"- {part}: {named}: {row['failed']}"] = None
    return "\n".join(["Not measured:", *said]) if said else ""


def _markdown(head: list[str], lines: Iterable[list[str]]) -> str:
    rows = [head, ["---"] * len(head), *lines]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) if len(rows) > 2 else ""
