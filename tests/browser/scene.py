"""A Noctis with something to see on every page: facilities, studies, a refusal, a conflict, weeks of habit."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from pydicom import dcmread

from tests.browser import phantoms
from tests.support import wait_for
from tests.system.conftest import Noctis
from tests.system.senders import echoscu, run, storescu, tool

WEEKS = 8  # of habit


def fill(noctis: Noctis, folder: Path) -> None:
    """Send what there is to see, over the network; `noctis` runs, with `study_quiet_seconds` of a few seconds."""
    folder.mkdir(exist_ok=True)
    central, zilina = noctis.add("Central Hospital"), noctis.add("Žilina Clinic")
    harbour = noctis.add("Harbour Imaging")
    for each in (central, zilina, harbour):
        noctis.wait_listener(each.slug)
    chest = phantoms.ct(folder, "Doe^Jane", "1001", "CT chest", _day(0), 24, missing=(9, 10, 17))
    late = chest.pop()
    heart = phantoms.ultrasound(folder, "Kováč^Ľubomír", "2001", "Echo", _day(0))
    brain = phantoms.ct(folder, "Yamada^Tarou=山田^太郎", "1002", "CT sinuses", _day(1), 8)
    spine = phantoms.ct(folder, "O'Neill^Siobhán", "1003", "CT spine", _day(2), 6)
    storescu(central.port, central.ae_title, chest, calling="CT_1")
    wait_for(lambda: _complete(noctis) == 1, what="the first study to be complete")
    storescu(central.port, central.ae_title, [late, *brain], calling="CT_1")
    storescu(central.port, central.ae_title, spine, calling="CT_2")
    storescu(zilina.port, zilina.ae_title, heart, calling="US_1")
    again = dcmread(brain[0])
    again.PatientName, again.WindowWidth = "Yamada^Taro", 350
    again.save_as(folder / "again.dcm")
    storescu(central.port, central.ae_title, [folder / "again.dcm"], calling="CT_1")
    assert not echoscu(central.port, "WRONG_TITLE", "MR_OLD")
    run(tool("storescu"), "-aet", "CR_9", "-aec", "NOCTIS_SERVER", "127.0.0.1", str(noctis.port), spine[0])
    noctis.cli("facility", "disable", "harbour-imaging")
    _habit(noctis, central.id, "CT_1", range(7, 18), 5)
    _habit(noctis, zilina.id, "US_1", range(8, 13), 3)
    wait_for(lambda: noctis.settled() and _complete(noctis) == 4, seconds=60, what="four complete studies")
    wait_for(lambda: noctis.sql("SELECT count(*) FROM refusal") == [(2,)], what="two refusals in the ledger")


def _day(back: int) -> str:
    return (datetime.now(UTC) - timedelta(days=back)).strftime("%Y%m%d")


def _complete(noctis: Noctis) -> int:
    count: int = noctis.sql("SELECT count(*) FROM study WHERE status = 'complete'")[0][0]
    return count


def _habit(noctis: Noctis, facility_id: int, calling: str, hours: range, workdays: int) -> None:
    """Weeks of what a device would have sent."""
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0, tzinfo=None)
    for back in range(1, WEEKS * 7):
        day = today - timedelta(days=back)
        if day.weekday() < workdays:
            last = (day + timedelta(hours=hours[-1], minutes=40)).isoformat(sep=" ", timespec="microseconds")
            noctis.sql(
                "INSERT INTO activity_day (facility_id, calling, day, hours, last_at, associations, instances, bytes)"
                " VALUES (?, ?, ?, ?, ?, 40, 4800, 2516582400) ON CONFLICT DO NOTHING",
                facility_id,
                calling,
                (day - datetime(1970, 1, 1)).days,
                sum(1 << hour for hour in hours),
                last,
            )
