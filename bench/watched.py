"""The pages and the listeners beside each other: how fast the pages are while images come as fast as they can, and
what receiving loses by being looked at.

python -m bench.watched [--instances N] [--associations N] [--tabs N] [--viewers N] [--rounds N]

A supervised Noctis on SQLite. Each round: images at full speed, once with nobody looking and once with so many open
tabs, each of which asks for one of the pages every two seconds, as a browser does, and so many viewers, each of which
plays a series of `SERIES` images as fast as it comes, `RATE` images a second at the most, through one window after
another: every picture is decoded, none is in a cache. Prints a table. Wants a machine to itself.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from noctis.config import load_settings
from noctis.supervisor.control import Control
from noctis.users.roles import Role
from noctis.web.access import COOKIE
from noctis.web.site import Site

PATHS = ("/", "/live", "/studies", "/refusals", "/quarantine", "/silence", "/events", "/metrics")
EVERY_SECONDS = 2.0
SERIES = 100  # images that are played
RATE = 15.0  # images a second of one viewer
CINE = "cine"  # what the viewers' requests are called in the table
START_SECONDS = 60.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--instances", type=int, default=6000)
    parser.add_argument("--associations", type=int, default=4)
    parser.add_argument("--tabs", type=int, default=8)
    parser.add_argument("--viewers", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kind", default="MR")
    parser.add_argument("--port", type=int, default=23112, help="the first of 12 free ones")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        settings = load_settings(
            options={
                "home": folder,
                "server": {"port": options.port, "bind": "127.0.0.1"},
                "facilities": {"first_port": options.port + 1, "last_port": options.port + 10},
                "web": {"port": options.port + 11},
                "storage": {"reserve_bytes": 0},
                "logging": {"level": "warning"},
            }
        )
        variables = {
            "NOCTIS_HOME": folder,
            "NOCTIS_SERVER__PORT": str(options.port),
            "NOCTIS_SERVER__BIND": "127.0.0.1",
            "NOCTIS_FACILITIES__FIRST_PORT": str(options.port + 1),
            "NOCTIS_FACILITIES__LAST_PORT": str(options.port + 10),
            "NOCTIS_WEB__PORT": str(options.port + 11),
            "NOCTIS_STORAGE__RESERVE_BYTES": "0",
            "NOCTIS_LOGGING__LEVEL": "warning",
        }
        parent = subprocess.Popen(
            [sys.executable, "-m", "noctis", "supervise"],
            env=os.environ | variables,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        site = Site(settings)
        try:
            measure(site, Path(folder), options, variables)
        finally:
            site.close()
            parent.send_signal(signal.SIGTERM)
            parent.wait(60)


def measure(site: Site, home: Path, options: argparse.Namespace, variables: dict[str, str]) -> None:
    base = f"http://127.0.0.1:{site.settings.web.port}"
    wait_for_pages(base, Control(site.home))
    facility = site.registry("bench").add("Measured")
    site.follow()
    site.control.wait_listener(facility.slug, 10)
    account = site.accounts("bench").add("bench", "a password for the bench", Role.ADMIN)
    cookie = f"{COOKIE}={site.sessions.start(account, '127.0.0.1')}"
    played = series_to_play(facility.slug, variables) if options.viewers else []
    alone: list[float] = []
    watched: list[float] = []
    times: dict[str, list[float]] = {}
    for number in range(options.rounds):
        for looked_at in (False, True) if number % 2 == 0 else (True, False):
            wanted = [PATHS[index % len(PATHS)] for index in range(options.tabs)] if looked_at else []
            looks = [(look, each) for each in wanted]
            looks += [
                (play, played[index:] + played[:index]) for index in range(0, 17 * options.viewers, 17) if looked_at
            ]
            rate = load(facility.port, facility.ae_title, options, base, cookie, looks, times)
            (watched if looked_at else alone).append(rate)
            wait_filed(home)
    print(f"{'page':<14}{'requests':>10}{'p50 ms':>10}{'p95 ms':>10}{'max ms':>10}")
    for path, found in sorted(times.items()):
        found.sort()
        middle, late = statistics.median(found), found[min(len(found) - 1, int(len(found) * 0.95))]
        print(f"{path:<14}{len(found):>10}{middle:>10.1f}{late:>10.1f}{found[-1]:>10.1f}")
    if CINE in times:
        print(f"{CINE}: {len(times[CINE])} pictures decoded and sent in all")
    for name, rates in (("nobody looks", alone), (f"{options.tabs} tabs and {options.viewers} viewers", watched)):
        print(f"{name}: {', '.join(f'{rate:.0f}' for rate in rates)} instances/s")
    print(f"ratio of the medians: {statistics.median(watched) / statistics.median(alone):.3f}")


def load(
    port: int,
    called: str,
    options: argparse.Namespace,
    base: str,
    cookie: str,
    looks: Sequence[tuple[Callable[..., None], Any]],
    times: dict[str, list[float]],
) -> float:
    """Instances a second of one run, with all that `looks`; what the pages took is added to `times`."""
    over = threading.Event()
    threads = [threading.Thread(target=way, args=(base, what, cookie, over, times)) for way, what in looks]
    for each in threads:
        each.start()
    command = [sys.executable, "-m", "bench.load", str(port), called, "--kind", options.kind]
    command += ["--instances", str(options.instances), "--associations", str(options.associations)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=900)
    over.set()
    for each in threads:
        each.join()
    return float(json.loads(done.stdout)["instances_per_second"])


def look(base: str, path: str, cookie: str, over: threading.Event, times: dict[str, list[float]]) -> None:
    """One tab: asks again and again until it is over; keeps the milliseconds to the first byte."""
    while True:
        request = urllib.request.Request(base + path, headers={"Cookie": cookie, "HX-Request": "true"})
        begun = time.perf_counter()
        with urllib.request.urlopen(request, timeout=30) as answer:
            answer.read(1)
            times.setdefault(path, []).append((time.perf_counter() - begun) * 1000)
            answer.read()
        if over.wait(EVERY_SECONDS):
            return


def play(base: str, paths: Sequence[str], cookie: str, over: threading.Event, times: dict[str, list[float]]) -> None:
    """One viewer: plays a series again and again until it is over; keeps the milliseconds of each whole picture."""
    number = 0
    while True:
        begun = time.perf_counter()
        window = f"center={number // len(paths)}.{threading.get_ident() % 1000:03}&width=400"
        request = urllib.request.Request(f"{base}{paths[number % len(paths)]}?{window}", headers={"Cookie": cookie})
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                answer.read()
            times.setdefault(CINE, []).append((time.perf_counter() - begun) * 1000)
            number += 1
        except urllib.error.HTTPError as error:
            if error.code != 503:
                raise
        if over.wait(max(0.0, begun + 1 / RATE - time.perf_counter())):
            return


def series_to_play(slug: str, variables: dict[str, str]) -> list[str]:
    """Where the frames are of a series that is imported for it: CT slices of 512 x 512 in JPEG 2000, the slowest usual
    way to have them."""
    import numpy as np
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, JPEG2000Lossless, generate_uid

    random = np.random.default_rng(1)
    y, x = np.mgrid[0:512, 0:512]
    body = np.where((x - 256) ** 2 + (y - 256) ** 2 < 200**2, 1040, 24)
    study, series = generate_uid(), generate_uid()
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(1, SERIES + 1):
            made = Dataset()
            made.SOPClassUID, made.SOPInstanceUID = CTImageStorage, generate_uid()
            made.StudyInstanceUID, made.SeriesInstanceUID = study, series
            made.Modality, made.InstanceNumber = "CT", number
            made.SamplesPerPixel, made.PhotometricInterpretation = 1, "MONOCHROME2"
            made.Rows = made.Columns = 512
            made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 16, 12, 11, 0
            made.RescaleSlope, made.RescaleIntercept = 1, -1024
            made.PixelData = (body + random.normal(0, 8, body.shape)).clip(0, 4095).astype("<u2").tobytes()
            made.file_meta = FileMetaDataset()
            made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
            made.compress(JPEG2000Lossless, encoding_plugin="pylibjpeg")
            made.save_as(Path(folder, f"{number}.dcm"), enforce_file_format=True)
            at = f"/api/v1/studies/{slug}/{study}/series/{series}/instances/{made.SOPInstanceUID}"
            found.append(f"{at}/frames/1.png")
        command = [sys.executable, "-m", "noctis", "import", slug, folder]
        subprocess.run(command, check=True, capture_output=True, env=os.environ | variables)
    return found


def wait_for_pages(base: str, control: Control) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            urllib.request.urlopen(f"{base}/healthz", timeout=5).close()
            if control.is_running():
                return
        except OSError:
            time.sleep(0.1)
    raise SystemExit("the pages did not come up")


def wait_filed(home: Path) -> None:
    """Until nothing waits, so that no run begins with what the one before left."""
    from noctis.repository.slots import everything_waiting

    deadline = time.monotonic() + 300
    while any(everything_waiting(home / "spool")) and time.monotonic() < deadline:
        time.sleep(0.2)


if __name__ == "__main__":
    main()
