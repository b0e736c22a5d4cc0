"""How much memory a replica takes, for deploy/kubernetes: `python -m tests.benchmarks.memory FOLDER`.

FOLDER holds ordinary photos. The service runs as the base's pods do, and is asked by ever more clients for photos, then
for the costliest pictures that the settings allow; between the two it takes another bundle. How many images wait for
the engine is told beside it: the autoscaler in deploy/kubernetes/components/keda goes by that.
"""

import argparse
import io
import re
import shutil
import signal
import tempfile
import time
from pathlib import Path

import yaml
from PIL import ExifTags, Image

from service.preprocess import DEFAULT_MAX_PIXELS
from service.settings import DEFAULT_BUNDLE
from tests.benchmarks.load import closed_loop
from tests.benchmarks.peers.forms import raw
from tests.server_process import ROOT, ServerProcess, running_server

DEPLOYMENT = ROOT / "deploy/kubernetes/base/deployment.yaml"
CLIENTS = (8, 32, 128)
SECONDS = 8.0
SIDE = int(DEFAULT_MAX_PIXELS**0.5)


def costly_pictures(folder: Path) -> Path:
    """Write pictures of the most pixels: a PNG with transparency, and a progressive JPEG that lies on its side."""
    folder.mkdir()
    Image.new("RGBA", (SIDE, SIDE), (200, 30, 30, 128)).save(folder / "transparent.png", compress_level=1)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    picture = io.BytesIO()
    Image.effect_noise((SIDE, SIDE), 20).convert("RGB").save(
        picture, "JPEG", progressive=True, subsampling=0, quality=30, exif=exif
    )
    (folder / "progressive.jpg").write_bytes(picture.getvalue())
    return folder


def mebibytes(server: ServerProcess, field: str) -> int:
    """Return VmRSS, what the process holds, or VmHWM, the most that it has held."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    [kibibytes] = re.findall(rf"^{field}:\s+(\d+) kB$", status, re.M)
    return int(kibibytes) // 1024


def tell(server: ServerProcess, what: str, more: str = "") -> None:
    print(
        f"{what:<28}{mebibytes(server, 'VmRSS'):6} MiB, at most {mebibytes(server, 'VmHWM'):6} MiB  {more}", flush=True
    )


def waited_seconds(server: ServerProcess) -> float:
    """Return for how long images have been decoded or waited for the engine, all together."""
    return sum(server.metric(f'mos_stage_duration_seconds_sum{{stage="{stage}"}}') for stage in ("decode", "queue"))


def ask(server: ServerProcess, what: str, folder: Path, clients: int) -> None:
    waited_before, started_at = waited_seconds(server), time.monotonic()
    requests = [raw(file.read_bytes(), "/predict") for file in sorted(folder.rglob("*")) if file.is_file()]
    exchanges = closed_loop(server.port, requests, clients, SECONDS)
    waiting = (waited_seconds(server) - waited_before) / (time.monotonic() - started_at)
    tell(server, f"{clients} clients, {what}", f"{len(exchanges) / SECONDS:.0f}/s, {waiting:.1f} images wait")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("photos", type=Path, help="folder of ordinary photos")
    photos = parser.parse_args().photos
    [container] = yaml.safe_load(DEPLOYMENT.read_text())["spec"]["template"]["spec"]["containers"]
    settings = {entry["name"].removeprefix("MOS_").lower(): entry["value"] for entry in container["env"]}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        bundle = Path(shutil.copytree(DEFAULT_BUNDLE, folder / "bundle"))
        costly = costly_pictures(folder / "costly")
        with running_server(folder, **settings | {"bundle": bundle, "log_level": "warning"}) as server:
            server.wait_until_ready()
            tell(server, "ready")
            for clients in CLIENTS:
                ask(server, "photos", photos, clients)
            server.process.send_signal(signal.SIGHUP)
            time.sleep(SECONDS)
            tell(server, "after another bundle")
            ask(server, f"{SIDE} x {SIDE} px", costly, 8)


if __name__ == "__main__":
    main()
