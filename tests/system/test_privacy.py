"""Nothing that is written for people or programs to read tells whose images they are: at the most talkative setting,
over everything that can become of an instance.
"""

import subprocess
from pathlib import Path

import pytest

from bench.scu import Association, StoreMessage
from bench.studies import TINY, Template
from noctis.repository.slots import everything_waiting
from tests import privacy
from tests.samples import make_instance
from tests.support import wait_for
from tests.system.conftest import MakeNoctis, Noctis
from tests.system.senders import storescu, tool

NAME, PATIENT, BIRTH = "Quennell^Isolde", "PAT-88123-X", "19700203"


def files(folder: Path) -> dict[str, Path]:
    """What is sent, and what becomes of it."""
    folder.mkdir()
    made = {}
    for number, what in enumerate(("sound", "conflict", "mismatch", "truncated", "no-study", "imported"), start=1):
        dataset = make_instance(
            study="1.2.7",
            series="1.2.7.1",
            number=number,
            name=NAME,
            patient_id=PATIENT,
            sop_instance=f"1.2.7.1.{number}",
        )
        if what == "conflict":
            dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.7.1.1"
        elif what == "mismatch":
            dataset.SOPInstanceUID = "1.2.7.999"
        elif what == "no-study":
            del dataset.StudyInstanceUID
        path = folder / f"{what}.dcm"
        dataset.save_as(path)
        if what == "truncated":
            content = path.read_bytes()
            path.write_bytes(content[: content.index(b"\x10\x00\x30\x00") + 10])  # inside the birth date
        made[what] = path
    return made


def send(noctis: Noctis, path: Path, called: str, port: int) -> str:
    """storescu's own output, whatever becomes of the file."""
    done = subprocess.run(
        [tool("storescu"), "-v", "-aec", called, "127.0.0.1", str(port), path],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout + done.stderr


def vanish(port: int, called: str) -> None:
    """Go in the middle of a data set."""
    association = Association("127.0.0.1", port, called, TINY)
    association.open()
    message = StoreMessage(Template(TINY), association.max_fragment).encoded
    association.sock.sendall(message[: len(message) // 2])
    association.sock.close()


@pytest.mark.timeout(300)
def test_nothing_written_tells_of_a_patient(make_noctis: MakeNoctis, tmp_path: Path) -> None:
    noctis = make_noctis(logging={"level": "debug", "file": True}).start()
    facility = noctis.json("facility", "add", "Central")
    port, title = facility["port"], facility["ae_title"]
    made = files(tmp_path / "files")
    storescu(port, title, [made["sound"]])
    for what in ("conflict", "mismatch", "truncated", "no-study"):
        privacy.look(send(noctis, made[what], title, port), "the answer to storescu")
    send(noctis, made["sound"], "NOBODY", port)
    vanish(port, title)
    noctis.run("import", "central", tmp_path / "files")
    wait_for(lambda: not any(everything_waiting(noctis.home / "spool")), what="the spool to be empty")
    for command in (
        ("study", "list", "--patient", NAME),
        ("study", "list", "--patient", "x" * 70_000),
        ("study", "show", PATIENT),
        ("quarantine", "list"),
        ("archive", "verify"),
        ("archive", "reindex"),
        ("status",),
        ("status", "--json"),
        ("check",),
        ("refusal", "list"),
        ("event", "list"),
        ("association", "list", "--json"),
    ):
        done = noctis.run(*command)
        if command[0] not in ("study",):
            privacy.look(done.stdout, " ".join(map(str, command)))
    privacy.look_at_processes(noctis.family())
    assert noctis.sql("SELECT count(*) FROM study WHERE patient_id = ?", PATIENT) == [(1,)]
    assert noctis.json("quarantine", "list")
    log = (noctis.home / "logs" / "noctis.log").read_text(encoding="utf-8")
    assert "instance.quarantined" in log
    for value in (NAME, "Quennell", "Isolde", PATIENT, BIRTH):
        assert value.lower() not in log.lower()
    privacy.look_at_files(tmp_path)
