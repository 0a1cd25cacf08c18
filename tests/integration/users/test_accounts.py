"""Accounts: what may be done to them, what is refused, and what each change leaves."""

import threading

import pytest
from sqlalchemy import Engine, insert

from noctis.db.models import Account
from noctis.errors import ConflictError, NotFoundError, UsageError
from noctis.facilities.registry import Registry
from noctis.users.accounts import Accounts
from noctis.users.roles import Role
from noctis.users.sessions import Sessions
from tests.integration.users.conftest import PASSWORD, events


def test_add_edit_remove_and_what_they_leave(accounts: Accounts, registry: Registry, engine: Engine) -> None:
    accounts.add("ada", PASSWORD, Role.ADMIN)
    added = accounts.add("Bob", PASSWORD, Role.FACILITY, facility="central", email=" bob@example.org ")
    assert (added.name, added.role, added.facility, added.email) == ("bob", Role.FACILITY, "central", "bob@example.org")
    assert accounts.edit("bob", facility="north").facility == "north"
    assert accounts.edit("bob", email="").email is None
    edited = accounts.edit("bob", role=Role.OPERATOR)  # which has no facility
    assert (edited.role, edited.facility, edited.facility_id) == (Role.OPERATOR, None, None)
    accounts.set_password("bob", PASSWORD + "!")
    accounts.unlock("bob")
    accounts.remove("bob")
    assert [each.name for each in accounts.all()] == ["ada"]
    assert [(who, what, whom) for who, what, whom, _ in events(engine) if what.startswith("user.")] == [
        ("tester", "user.added", "ada"),
        ("tester", "user.added", "bob"),
        ("tester", "user.edited", "bob"),
        ("tester", "user.edited", "bob"),
        ("tester", "user.edited", "bob"),
        ("tester", "user.password_set", "bob"),
        ("tester", "user.unlocked", "bob"),
        ("tester", "user.removed", "bob"),
    ]
    assert PASSWORD not in repr(events(engine))


def test_a_name_has_one_form_whatever_is_typed(accounts: Accounts) -> None:
    accounts.add("Ärzte.Nord", PASSWORD, Role.VIEWER)
    for typed in ("ärzte.nord", "ÄRZTE.NORD", " Ärzte.Nord ", "A\u0308rzte.nord"):
        assert accounts.get(typed).name == "ärzte.nord"
        with pytest.raises(ConflictError):
            accounts.add(typed, PASSWORD, Role.VIEWER)


@pytest.mark.parametrize(
    "name",
    ["", " ", "two words", "a\nb", "a\0b", "x" * 65, "<script>alert(1)</script>", "a/b", "..", ".hidden", "-x", "a%2fb",
     "\ud800", 'a"b', "a'b", "a?b", "a#b", "a\\b", "\u202ea"],
)  # fmt: skip
def test_what_is_no_name(accounts: Accounts, name: str) -> None:
    with pytest.raises(UsageError):
        accounts.add(name, PASSWORD, Role.VIEWER)
    with pytest.raises(NotFoundError):
        accounts.get(name)
    with pytest.raises(NotFoundError):
        accounts.remove(name)
    assert accounts.is_empty()


@pytest.mark.parametrize(
    "email", ["x", "a b@c", "a@b\nBcc: c@d", "a@", "@b", "<a@b>", "a@b,c@d", "x" * 250 + "@abcd", "a@\0"]
)
def test_what_is_no_address(accounts: Accounts, email: str) -> None:
    with pytest.raises(UsageError):
        accounts.add("ada", PASSWORD, Role.VIEWER, email=email)
    assert accounts.is_empty()


def test_a_facility_belongs_to_its_role_and_must_be_there(accounts: Accounts, registry: Registry) -> None:
    accounts.add("ada", PASSWORD, Role.ADMIN)
    accounts.add("bob", PASSWORD, Role.FACILITY, facility="central")
    with pytest.raises(UsageError):
        accounts.add("eve", PASSWORD, Role.FACILITY)
    with pytest.raises(UsageError):
        accounts.add("eve", PASSWORD, Role.VIEWER, facility="central")
    for unknown in ("nowhere", "../central", "a\0b", "ä"):
        with pytest.raises(NotFoundError):
            accounts.add("eve", PASSWORD, Role.FACILITY, facility=unknown)
    with pytest.raises(UsageError):
        accounts.edit("bob", facility=None)
    with pytest.raises(UsageError):
        accounts.edit("ada", facility="central")
    registry.remove("north")
    with pytest.raises(NotFoundError):
        accounts.edit("bob", facility="north")
    assert accounts.get("bob").facility == "central"


def test_the_last_admin_stays(accounts: Accounts) -> None:
    accounts.add("ada", PASSWORD, Role.ADMIN)
    accounts.add("bob", PASSWORD, Role.VIEWER)
    for refused in (lambda: accounts.remove("ada"), lambda: accounts.edit("ada", role=Role.OPERATOR)):
        with pytest.raises(ConflictError, match="last admin"):
            refused()
    accounts.edit("bob", role=Role.ADMIN)
    accounts.remove("ada")
    with pytest.raises(ConflictError):
        accounts.remove("bob")


def test_of_two_admins_who_remove_each_other_one_stays(accounts: Accounts) -> None:
    accounts.add("ada", PASSWORD, Role.ADMIN)
    accounts.add("bob", PASSWORD, Role.ADMIN)
    failed = at_once(lambda: accounts.remove("ada"), lambda: accounts.remove("bob"))
    assert [type(each) for each in failed] == [ConflictError]
    assert len(accounts.all()) == 1


def test_of_two_first_admins_at_once_there_is_one(accounts: Accounts) -> None:
    failed = at_once(*[lambda name=name: accounts.add_first(name, PASSWORD) for name in ("ada", "bob", "eve")])
    assert [type(each) for each in failed] == [ConflictError, ConflictError]
    (first,) = accounts.all()
    assert first.role == Role.ADMIN


def test_sessions_end_with_what_they_were_for(accounts: Accounts, sessions: Sessions, registry: Registry) -> None:
    accounts.add("ada", PASSWORD, Role.ADMIN)
    bob = accounts.add("bob", PASSWORD, Role.FACILITY, facility="central")
    for change, ends in (
        (lambda: accounts.edit("bob", email="bob@example.org"), False),
        (lambda: accounts.edit("bob", facility="central"), False),
        (lambda: accounts.edit("bob", facility="north"), True),
        (lambda: accounts.edit("bob", role=Role.VIEWER), True),
        (lambda: accounts.set_password("bob", PASSWORD), True),
        (lambda: accounts.unlock("bob"), False),
        (lambda: accounts.log_out("bob"), True),
        (lambda: accounts.remove("bob"), True),
    ):
        secret = sessions.start(bob, "10.0.0.1")
        change()
        assert (sessions.account(secret) is None) is ends


def test_a_name_that_plain_sql_has_written_can_be_shown_and_no_more(accounts: Accounts, engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(insert(Account).values(name="<script>", role="viewer", password="none"))
    assert [each.name for each in accounts.all()] == ["<script>"]


def at_once(*calls: object) -> list[Exception]:
    """Call all of these in the same moment; what failed."""
    failed: list[Exception] = []
    gate = threading.Barrier(len(calls))

    def run(call: object) -> None:
        gate.wait(20)
        try:
            call()  # type: ignore[operator]
        except Exception as error:  # noqa: BLE001 - whatever it is, the test looks at it
            failed.append(error)

    threads = [threading.Thread(target=run, args=(each,)) for each in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return failed
