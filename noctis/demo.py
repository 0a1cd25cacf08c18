"""The demonstration behind `scripts/run --demo`: two facilities, a few made-up studies, everything over the network.

Takes a home folder (`NOCTIS_HOME`, else data-demo/). Drives the installed command as an operator would, in processes of
its own, and sends as a modality would: real associations, one of them by a stranger who is turned away. Promises to
use no port that another program holds, to send nothing that was ever a patient's, and to end what it started. Can be
run again on the same home: the facilities stay, new studies come.
"""

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, generate_uid
from pynetdicom import AE
from pynetdicom.sop_class import (
    ComputedRadiographyImageStorage,
    CTImageStorage,
    MRImageStorage,
    UltrasoundImageStorage,
)
from rich.console import Console

from noctis.config import Settings, load_settings
from noctis.errors import NoctisError
from noctis.scu import requests

T = TypeVar("T")

PORTS_WANTED = 8  # consecutive ones for facilities
PORTS_FROM = 21112  # looked at when the default ones are taken
START_SECONDS = 60.0
FILED_SECONDS = 60.0

console = Console(highlight=False, soft_wrap=True)


@dataclass(frozen=True)
class Study:
    """One made-up study, and the way it is sent."""

    facility: str
    patient_name: str
    patient_id: str
    description: str
    modality: str
    sop_class: str
    instances: int
    calling: str
    on_default_port: bool = False


FACILITIES = {"Central Hospital": (), "Žilina Clinic": ("ZILINA_US",)}  # name → devices
STUDIES = (
    Study("Central Hospital", "Doe^Jane", "DEMO-1001", "CT chest", "CT", CTImageStorage, 12, "CT_1"),
    Study("Central Hospital", "Yamada^Tarou=山田^太郎", "DEMO-1002", "MR brain", "MR", MRImageStorage, 8, "MR_1"),
    Study("Žilina Clinic", "Kováč^Ľubomír", "DEMO-1001", "Chest PA", "CR", ComputedRadiographyImageStorage, 2, "CR_1"),
    Study(
        "Žilina Clinic", "Šťastná^Žofia", "DEMO-2002", "US abdomen", "US", UltrasoundImageStorage, 4, "ZILINA_US", True
    ),
)


class DemoError(NoctisError):
    """The demonstration could not go on."""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="scripts/run --demo", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--once", action="store_true", help="end when everything has arrived and was shown")
    options = parser.parse_args(arguments)
    try:
        run(once=options.once)
    except NoctisError as error:
        print(f"error: {error}", file=sys.stderr)
        return int(error.exit_code)
    except KeyboardInterrupt:
        console.print("\nStopped.")
    return 0


def run(*, once: bool) -> None:
    """The whole demonstration; without `once` it goes on until Ctrl-C."""
    os.environ.setdefault("NOCTIS_HOME", "data-demo")
    settings = _free_of_clashes(load_settings())
    home = settings.paths.root
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    log = home / "demo.log"
    with _supervised(log) as supervisor:
        console.print(f"Noctis runs, default port {settings.server.port}, home {home}, its log in {log.name}")
        facilities = _facilities(settings)
        for facility in facilities.values():
            console.print(f"  {facility['name']}: AE title {facility['ae_title']}, port {facility['port']}")
        sent = [_send(study, facilities[study.facility], settings) for study in STUDIES]
        _send_as_a_stranger(settings)
        _wait(lambda: _filed(sent), FILED_SECONDS, "everything to be filed", log, supervisor)
        console.print("Everything is filed and indexed.\n")
        for command in ("study list", "refusal list", "status"):
            console.print(f"[bold]$ noctis {command}[/bold]")
            _noctis(*command.split(), shown=True)
            console.print()
        if once:
            return
        address = f"{settings.server.ae_title}@{_target(settings)}:{settings.server.port}"
        console.print(f"It goes on running ({address}).")
        if settings.web.enabled:
            console.print(f"[bold]Its pages, in a browser:[/bold] {_pages()}", soft_wrap=True)
        console.print("In another terminal:")
        console.print(f"  NOCTIS_HOME={home} {Path(sys.executable).parent / 'noctis'} status --watch")
        console.print("Ctrl-C ends it.")
        supervisor.wait()
        raise DemoError("the supervisor has ended", fix=f"see {log}")


# -- the command, as an operator uses it


def _noctis(*arguments: str, shown: bool = False) -> str:
    sys.stdout.flush()
    done = subprocess.run(
        [sys.executable, "-m", "noctis", *arguments],
        stdout=None if shown else subprocess.PIPE,
        stderr=None if shown else subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        raise DemoError(f"noctis {' '.join(arguments)} failed: {(done.stderr or '').strip()}")
    return done.stdout or ""


def _pages() -> str:
    """The link with which the first admin is made, or where one logs in once there is one."""
    command = [sys.executable, "-m", "noctis", "web", "link"]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False).stdout.strip()


def _json(*arguments: str) -> Any:
    return json.loads(_noctis(*arguments, "--json"))


@contextmanager
def _supervised(log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`noctis supervise` in a process group of its own, so that Ctrl-C reaches it in order: through us."""
    with log.open("ab") as output:
        supervisor = subprocess.Popen(
            [sys.executable, "-m", "noctis", "supervise"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            process_group=0,
        )
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        _wait(_ready, START_SECONDS, "Noctis to start", log, supervisor)
        yield supervisor
    finally:
        if supervisor.poll() is None:
            supervisor.terminate()
            supervisor.wait()


def _ready() -> bool:
    try:
        listeners = _json("status")["listeners"]
    except DemoError:
        return False
    return any(each["facility"] is None and each["state"] == "running" for each in listeners)


def _wait(condition: Callable[[], T], seconds: float, what: str, log: Path, supervisor: subprocess.Popen[bytes]) -> T:
    with console.status(f"Waiting for {what} …"):
        deadline = time.monotonic() + seconds
        while not (value := condition()):
            if supervisor.poll() is not None:
                raise DemoError(f"noctis supervise ended with exit code {supervisor.returncode}:\n{_tail(log)}")
            if time.monotonic() > deadline:
                raise DemoError(f"waited {seconds:.0f} s in vain for {what}", fix=f"see {log}")
            time.sleep(0.1)
    return value


def _tail(log: Path, lines: int = 5) -> str:
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])


def _facilities(settings: Settings) -> dict[str, Any]:
    """The demo's facilities, added where they are missing, on ports that nobody else holds."""
    known = {each["name"]: each for each in _json("facility", "list")}
    for name, devices in FACILITIES.items():
        if name not in known:
            options = [word for device in devices for word in ("--device", device)]
            known[name] = _json("facility", "add", name, *options)
    return known


# -- ports


def _free_of_clashes(settings: Settings) -> Settings:
    """Settings whose ports are free; for the processes that we start they go through the environment.

    Facilities of an earlier run keep their ports; one whose port is taken by now would show as `backoff`, so such a
    home gets the facilities new ports.
    """
    if not _free(settings, settings.server.port):
        os.environ["NOCTIS_SERVER__PORT"] = str(_first_free(settings, PORTS_FROM, 1))
    if settings.web.enabled and not _free(settings, settings.web.port):
        os.environ["NOCTIS_WEB__PORT"] = str(_first_free(settings, PORTS_FROM + 50, 1))
    first = settings.facilities.first_port
    if _first_free(settings, first, PORTS_WANTED) != first:
        first = _first_free(settings, PORTS_FROM + 100, PORTS_WANTED)
        os.environ["NOCTIS_FACILITIES__FIRST_PORT"] = str(first)
        os.environ["NOCTIS_FACILITIES__LAST_PORT"] = str(max(first + 1000, settings.facilities.last_port))
    if settings.database.url is None and settings.paths.sqlite.exists():
        for facility in _json("facility", "list"):
            if facility["name"] in FACILITIES and not _free(settings, facility["port"]):
                port = _first_free(settings, first, PORTS_WANTED)
                _noctis("facility", "edit", facility["slug"], "--port", str(port))
                first = port + 1
    return load_settings()


def _free(settings: Settings, port: int) -> bool:
    family = socket.AF_INET6 if ":" in settings.server.bind else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.server.bind, port))
        except OSError:
            return False
    return True


def _first_free(settings: Settings, start: int, count: int) -> int:
    for port in range(start, 60000):
        if all(_free(settings, port + offset) for offset in range(count)):
            return port
    raise DemoError(f"no {count} consecutive free ports from {start} up")


def _target(settings: Settings) -> str:
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.server.bind, settings.server.bind)


# -- sending, as a modality does


def _send(study: Study, facility: dict[str, Any], settings: Settings) -> tuple[str, int]:
    """Send one study in one association; its Study Instance UID and the number of instances."""
    port = settings.server.port if study.on_default_port else facility["port"]
    called = settings.server.ae_title if study.on_default_port else facility["ae_title"]
    modality = AE(study.calling)
    modality.add_requested_context(study.sop_class, ExplicitVRLittleEndian)
    association = modality.associate(_target(settings), port, ae_title=called)
    if not association.is_established:
        raise DemoError(f"{study.calling} could not open an association to {called} on port {port}")
    uid = ""
    with requests(association):
        for instance in make_study(study):
            uid = str(instance.StudyInstanceUID)
            status = association.send_c_store(instance)
            if status.get("Status") != 0:
                raise DemoError(f"C-STORE was answered with {status.get('Status', 'nothing')}")
    association.release()
    console.print(f"  {study.calling} → {called}, port {port}: {study.description}, {study.instances} instances")
    return uid, study.instances


def _send_as_a_stranger(settings: Settings) -> None:
    stranger = AE("STRANGER")
    stranger.add_requested_context(CTImageStorage)
    association = stranger.associate(_target(settings), settings.server.port, ae_title=settings.server.ae_title)
    if association.is_established:
        association.abort()
        raise DemoError("a stranger was let in")
    console.print(f"  STRANGER → {settings.server.ae_title}, port {settings.server.port}: turned away, as it should be")


def _filed(sent: list[tuple[str, int]]) -> bool:
    counts = {each["study_instance_uid"]: each["instances"] for each in _json("study", "list")}
    return all(counts.get(uid) == instances for uid, instances in sent) and bool(_json("refusal", "list"))


def make_study(study: Study) -> Iterator[Dataset]:
    """Small images of a gradient; every name, number and UID in them is made up."""
    now = datetime.now(UTC)
    study_uid, series_uid = generate_uid(), generate_uid()
    for number in range(1, study.instances + 1):
        data = Dataset()
        data.file_meta = FileMetaDataset()
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data.SpecificCharacterSet = "ISO_IR 192"
        data.SOPClassUID = study.sop_class
        data.SOPInstanceUID = generate_uid()
        data.StudyInstanceUID, data.SeriesInstanceUID = study_uid, series_uid
        data.StudyDate = data.SeriesDate = data.ContentDate = now.strftime("%Y%m%d")
        data.StudyTime = data.SeriesTime = data.ContentTime = now.strftime("%H%M%S")
        data.AccessionNumber = f"A{now:%H%M%S}{study.modality}"
        data.Modality, data.StudyDescription = study.modality, study.description
        data.PatientName, data.PatientID = study.patient_name, study.patient_id
        data.PatientBirthDate, data.PatientSex = "19700101", "O"
        data.SeriesNumber, data.InstanceNumber = "1", str(number)
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.Rows = data.Columns = 128
        data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 8, 8, 7, 0
        data.PixelData = bytes((row * column + number * 16) >> 7 & 0xFF for row in range(128) for column in range(128))
        yield data


if __name__ == "__main__":
    sys.exit(main())
