"""The registry on a real database: unique titles and ports, nothing handed on to a stranger, every change an event."""

import threading

import pytest
from sqlalchemy import BigInteger, Engine, select, text

from noctis.config import Settings
from noctis.db import models
from noctis.errors import ConflictError, NotFoundError, UsageError
from noctis.facilities.records import parse_device
from noctis.facilities.registry import Registry
from noctis.facilities.values import LIMITS


@pytest.fixture
def registry(engine: Engine, settings: Settings) -> Registry:
    return Registry(engine, settings, actor="tester")


def test_titles_and_ports_are_generated(registry: Registry, settings: Settings) -> None:
    first, second = registry.add("Central Hospital"), registry.add("Žilina Clinic")
    assert first.ae_title.startswith("CENTRALHOSP")
    assert (first.slug, second.slug) == ("central-hospital", "zilina-clinic")
    assert [first.port, second.port] == [settings.facilities.first_port, settings.facilities.first_port + 1]
    assert registry.get("central-hospital") == first
    assert registry.get("CENTRAL hospital") == first
    assert registry.get(first.ae_title) == first
    assert registry.get(str(first.port)) == first


def test_twenty_adds_at_the_same_moment_all_succeed_with_different_ports(registry: Registry) -> None:
    start = threading.Barrier(20)
    made: list[int] = []
    failed: list[Exception] = []

    def add(number: int) -> None:
        start.wait()
        try:
            made.append(registry.add(f"Clinic {number}").port)
        except Exception as error:  # noqa: BLE001 - told by the assertion
            failed.append(error)

    threads = [threading.Thread(target=add, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert len(set(made)) == 20


def test_a_removed_facilitys_port_title_and_folder_stay_taken(registry: Registry) -> None:
    gone = registry.add("Central")
    registry.remove("central")
    again = registry.add("Central")
    assert again.port == gone.port + 1
    assert again.slug == "central-2"
    with pytest.raises(ConflictError, match="was removed"):
        registry.add("Other", ae_title=gone.ae_title)
    with pytest.raises(ConflictError, match="was removed"):
        registry.add("Other", port=gone.port)


def test_a_former_port_is_not_handed_on_but_may_be_taken_back(registry: Registry) -> None:
    facility = registry.add("Central")
    former = facility.port
    registry.edit("central", {"port": former + 10})
    assert registry.add("Other").port == former + 1
    with pytest.raises(ConflictError, match="once the facility central's"):
        registry.add("Third", port=former)
    assert registry.edit("central", {"port": former}).port == former


def test_a_removed_facility_comes_back_as_it_was(registry: Registry) -> None:
    before = registry.add("Central", devices=[parse_device("CT1@10.0.0.0/8")])
    registry.remove("central")
    with pytest.raises(NotFoundError, match="restore central"):
        registry.get("central")
    after = registry.restore("central")
    assert (after.port, after.ae_title, after.slug, after.devices) == (
        before.port,
        before.ae_title,
        before.slug,
        before.devices,
    )
    assert after.enabled


def test_a_facility_with_studies_is_removed_only_when_told_to_keep_them(registry: Registry, engine: Engine) -> None:
    facility = registry.add("Central")
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO study (facility_id, study_instance_uid, first_received, last_received) "
                "VALUES (:id, '1.2.3', CURRENT_TIMESTAMP, CURRENT_TIMESTAMP)"
            ),
            {"id": facility.id},
        )
    with pytest.raises(ConflictError, match="has 1 study"):
        registry.remove("central")
    registry.remove("central", keep_studies=True)
    assert registry.all() == []
    assert [each.slug for each in registry.all(removed=True)] == ["central"]


def test_titles_are_unique_among_facilities_and_devices(registry: Registry, settings: Settings) -> None:
    registry.add("Central", ae_title="CENTRAL", devices=[parse_device("CT1")])
    with pytest.raises(ConflictError, match="taken by 'Central'"):
        registry.add("Other", ae_title="CENTRAL")
    with pytest.raises(ConflictError, match="a device of 'Central'"):
        registry.add("Other", ae_title="CT1")
    other = registry.add("Other")
    with pytest.raises(ConflictError, match="taken by the facility 'Central'"):
        registry.add_device("other", parse_device("CENTRAL"))
    with pytest.raises(ConflictError, match="server's own"):
        registry.add_device("other", parse_device(settings.server.ae_title))
    with pytest.raises(ConflictError, match="already"):
        registry.add_device("central", parse_device("CT1"))
    registry.add_device("other", parse_device("CT1@10.2.0.0/16"))  # two hospitals may have a CT1 each
    assert [str(each) for each in registry.get(other.slug).devices] == ["CT1@10.2.0.0/16"]


@pytest.mark.parametrize(
    ("port", "error", "word"),
    [(0, UsageError, "out of range"), (65536, UsageError, "out of range"), (-1, UsageError, "out of range")],
)
def test_ports_out_of_range(registry: Registry, port: int, error: type[Exception], word: str) -> None:
    with pytest.raises(error, match=word):
        registry.add("Central", port=port)


def test_a_taken_port_says_by_whom(registry: Registry, settings: Settings) -> None:
    registry.add("Central", port=20000)
    with pytest.raises(ConflictError, match="taken by 'Central'"):
        registry.add("Other", port=20000)
    with pytest.raises(ConflictError, match="default listener"):
        registry.add("Other", port=settings.server.port)


def test_nearest_names_are_offered(registry: Registry) -> None:
    registry.add("Central Hospital")
    registry.add("City Clinic")
    with pytest.raises(NotFoundError, match="did you mean central-hospital"):
        registry.get("centrl hospitl")


def test_every_change_is_an_event(registry: Registry, engine: Engine) -> None:
    registry.add("Central")
    registry.edit("central", {"workers": 2})
    registry.edit("central", {"workers": 2})  # nothing changed: nothing noted
    registry.edit("central", {"enabled": False})
    registry.add_device("central", parse_device("CT1"))
    registry.remove_device("central", parse_device("CT1"))
    registry.remove("central")
    with engine.connect() as connection:
        rows = connection.execute(select(models.Event.action, models.Event.actor).order_by(models.Event.id)).all()
    assert [action for action, _ in rows] == [
        "facility.added",
        "facility.edited",
        "facility.disabled",
        "device.added",
        "device.removed",
        "facility.removed",
    ]
    assert {actor for _, actor in rows} == {"tester"}


def test_rows_by_plain_sql_are_taken_and_bad_ones_named(registry: Registry, engine: Engine) -> None:
    with engine.begin() as connection:
        for name, slug, title, port in (
            ("Good", "good", "GOOD1", 20001),
            ("Bad slug", "../etc", "BAD1", 20002),
            ("Bad title", "bad-title", "BAD\\1", 20003),
        ):
            connection.execute(
                text("INSERT INTO facility (name, slug, ae_title, port) VALUES (:name, :slug, :title, :port)"),
                {"name": name, "slug": slug, "title": title, "port": port},
            )
    snapshot = registry.snapshot()
    assert [each.slug for each in snapshot.facilities] == ["good"]
    assert snapshot.facilities[0].enabled
    assert len(snapshot.refused_rows) == 2
    assert "'Bad slug'" in " ".join(snapshot.refused_rows)


@pytest.mark.parametrize("text_", ["CT1@", "CT1@nonsense", "CT1@10.0.0.0/99", "@10.0.0.0/8", "", "A" * 17, "CT\\1"])
def test_malformed_devices_are_explained(text_: str) -> None:
    with pytest.raises(UsageError):
        parse_device(text_)


@pytest.mark.parametrize(
    ("written", "stored"),
    [
        ("CT1", "CT1"),
        ("CT1@10.1.2.3", "CT1@10.1.2.3/32"),
        ("CT1@10.1.2.3/8", "CT1@10.0.0.0/8"),
        (" CT 1 @::1", "CT 1@::1/128"),
    ],
)
def test_devices_as_they_are_written(written: str, stored: str) -> None:
    assert str(parse_device(written)) == stored


def test_a_limit_is_as_large_as_its_column(registry: Registry) -> None:
    registry.add("Central")
    for field, bits in LIMITS.items():
        wide = isinstance(models.Facility.__table__.c[field].type, BigInteger)
        assert bits == (63 if wide else 31)
        assert getattr(registry.edit("central", {field: (1 << bits) - 1}), field) == (1 << bits) - 1
        for value in (1 << bits, -1):
            with pytest.raises(UsageError, match="a number from 0 on"):
                registry.edit("central", {field: value})
        assert getattr(registry.edit("central", {field: None}), field) is None


def test_a_proposal_is_what_an_add_takes_and_takes_nothing_itself(registry: Registry, settings: Settings) -> None:
    proposal = registry.proposal("Central Hospital")
    assert proposal.port == settings.facilities.first_port
    again = registry.proposal("Central Hospital North", proposal.ae_title[-4:])
    assert (again.ae_title, again.port, again.slug) == (proposal.ae_title, proposal.port, "central-hospital-north")
    assert registry.all() == []
    added = registry.add("Central Hospital", ae_title=proposal.ae_title, port=proposal.port)
    assert (added.ae_title, added.port, added.slug) == (proposal.ae_title, proposal.port, proposal.slug)
    other = registry.proposal("Central Hospital 2", proposal.ae_title[-4:])
    assert other.ae_title != proposal.ae_title
    assert other.port == proposal.port + 1
    with pytest.raises(ConflictError, match="there is a facility"):
        registry.proposal("central hospital")


def test_problems_come_field_by_field_and_nothing_is_changed(registry: Registry, settings: Settings) -> None:
    central, north = registry.add("Central"), registry.add("North")
    wrong = {"name": "north", "ae_title": north.ae_title, "port": north.port, "workers": 0, "quota_bytes": 1 << 70}
    wrong |= {"conflict": "neither", "phone": "\0", "email": "x" * 255, "enabled": False}
    assert set(registry.problems("central", wrong)) == set(wrong) - {"enabled"}
    assert registry.problems("central", {"name": "Central", "ae_title": central.ae_title, "port": central.port}) == {}
    assert set(registry.problems(None, {"port": central.port, "ae_title": settings.server.ae_title})) == {
        "port",
        "ae_title",
    }
    assert registry.all() == [central, north]


def test_what_an_edit_would_make_is_not_made(registry: Registry) -> None:
    central = registry.add("Central")
    would_be = registry.would_be("central", {"name": " Other  Name ", "port": central.port + 50})
    assert (would_be.name, would_be.port) == ("Other Name", central.port + 50)
    assert registry.get("central") == central
    with pytest.raises(UsageError):
        registry.would_be("central", {"workers": 65})


def test_the_title_of_our_own_checks_is_nobodys(registry: Registry) -> None:
    registry.add("Central")
    with pytest.raises(ConflictError, match="own checks"):
        registry.add("Other", ae_title="NOCTIS_CHECK")
    with pytest.raises(ConflictError, match="own checks"):
        registry.add_device("central", parse_device("NOCTIS_CHECK"))


def test_contact_data_are_texts_that_any_database_takes(registry: Registry) -> None:
    kept = registry.add("Central", contact={"address": " Main St. 1\r\nBratislava ", "phone": ""})
    assert (kept.address, kept.phone) == ("Main St. 1\nBratislava", None)
    for field, wrong in (("address", "a\0b"), ("phone", "5" * 65), ("email", "\ud800"), ("address", "x" * 1001)):
        with pytest.raises(UsageError):
            registry.edit("central", {field: wrong})


def test_a_slug_is_looked_up_as_it_is(registry: Registry) -> None:
    central = registry.add("Central")
    assert registry.by_slug("central") == central
    with pytest.raises(NotFoundError):
        registry.by_slug(central.ae_title)
    registry.remove("central")
    with pytest.raises(NotFoundError, match="was removed"):
        registry.by_slug("central")
    assert registry.by_slug("central", removed=True).removed_at is not None
