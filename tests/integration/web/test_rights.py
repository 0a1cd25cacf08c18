"""Who may do what, tried on every route that there is, those included that are added some day.

Each route declares the right that it wants (`noctis.web.access`). Here every role, and nobody, asks every route; who
has not the right is kept out, who has it gets past. A facility's account finds no other facility, whatever a path, a
query or a UID names, and nothing of another facility stands in any answer. The same for tokens, which open the API
alone, and of that nothing that is about accounts, passwords, sessions and tokens.
"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import insert, select

from noctis.archiver.filing import Filer
from noctis.db.engine import reading
from noctis.db.models import AssociationRecord, Base, Quarantined
from noctis.facilities.records import DeviceRecord
from noctis.facilities.registry import Registry
from noctis.users.accounts import AccountRecord
from noctis.users.roles import RIGHTS, Right, Role
from noctis.web.access import COOKIE
from noctis.web.site import Site
from tests.integration.web.application import create_app
from tests.integration.web.conftest import ORIGIN, PASSWORD, tell_listeners
from tests.integration.web.routes import Route, all_routes
from tests.spooling import Intake

ROUTES = all_routes()

# Routes that a facility's account may ask and whose path names no facility: each was looked at, and shows of all that
# is kept only what is the caller's own. A new one belongs here after somebody has looked at it too.
REVIEWED = {
    "GET /": "the caller's own facility alone",
    "GET /quarantine": "the caller's own facility alone (Caller.scope)",
    "GET /api/v1/quarantine": "the same",
    "GET /account": "the caller's own account, sessions and tokens",
    "POST /account/tokens": "the caller's own",
    "POST /account/tokens/{token}/remove": "the caller's own, by the account",
    "GET /api/v1/tokens": "the caller's own",
    "POST /api/v1/tokens": "the caller's own",
    "DELETE /api/v1/tokens/{token}": "the caller's own, by the account",
    "POST /account/password": "the caller's own",
    "POST /account/sessions/end": "the caller's own, by the account",
    "POST /account/sessions/end-all": "the caller's own",
    "GET /api/docs": "nothing that is kept",
    "POST /api/v1/login": "the account that the password is of",
    "POST /api/v1/logout": "the caller's own session",
    "GET /api/v1/me": "the caller's own account",
    "GET /api/v1/openapi.json": "nothing that is kept",
    "GET /login": "nothing that is kept",
    "POST /login": "the account that the password is of",
    "POST /logout": "the caller's own session",
    "GET /healthz": "nothing that is kept",
    "HEAD /healthz": "nothing that is kept",
    "GET /readyz": "the machine's own state; names listeners that are not up by their ports",
    "HEAD /readyz": "nothing but a status",
    "GET /metrics": "all of it, to whoever reaches the port: web.metrics says whether",
    "GET /live": "Caller.sees of each association, Caller.scope of the recent ones",
    "GET /silence": "Caller.sees of each",
    "GET /silence/rows": "Caller.sees of each",
    "GET /studies": "Caller.scope",
    "GET /studies/rows": "Caller.scope",
    "GET /api/v1/facilities": "Caller.sees of each",
    "GET /api/v1/listeners": "Caller.sees of each",
    "GET /api/v1/live": "Caller.sees of each association, Caller.scope of the recent ones",
    "GET /api/v1/silence": "Caller.sees of each",
    "GET /api/v1/studies": "Caller.scope",
    "GET /setup": "whether there is an account yet",
    "POST /setup": "whether there is an account yet",
}


@pytest.fixture
def backend() -> str:
    """Rights are looked at before any database is."""
    return "sqlite"


NO_TOKEN = ("/api/v1/users", "/api/v1/tokens")  # below the API
SESSION, TOKEN, READING_TOKEN = "session", "token", "token that only reads"


class Callers:
    """Clients, each request with a session of its own, as one may end it, or with a token."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._client = TestClient(
            create_app(site), base_url=ORIGIN, follow_redirects=False, raise_server_exceptions=False
        )
        accounts = site.accounts("test")
        self._accounts: dict[Role, AccountRecord] = {
            role: accounts.add(str(role), PASSWORD, role, facility="central" if role is Role.FACILITY else None)
            for role in Role
        }
        tokens = site.tokens("test")
        self._tokens = {
            (role, kind): tokens.add(str(role), kind, read_only=kind == READING_TOKEN).secret
            for role in Role
            for kind in (TOKEN, READING_TOKEN)
        }

    def ask(
        self, role: Role | None, route: Route, address: str | None = None, *, by: str = SESSION
    ) -> tuple[int, str, str]:
        """Status, where it leads to, and the text."""
        self._client.cookies.clear()
        headers = {}
        if role is not None and by == SESSION:
            self._client.cookies.set(COOKIE, self._site.sessions.start(self._accounts[role], "127.0.0.1"))
        elif role is not None:
            headers["Authorization"] = f"Bearer {self._tokens[role, by]}"
        answer = self._client.request(route.method, address or route.address(), headers=headers)
        assert answer.status_code != 500, f"{route} as {role}: {answer.text[:500]}"
        return answer.status_code, answer.headers.get("location", ""), answer.text


@pytest.fixture
def callers(site: Site, registry: Registry) -> Callers:
    registry.add("Central")
    registry.add("Strangers", ae_title="STRANGERSAET", devices=[DeviceRecord("STRANGERSCT", "")])
    tell_listeners(site)
    return Callers(site)


def is_kept_out(status: int, location: str) -> str | None:
    if status == 401 or (status == 303 and location.partition("?")[0] == "/login"):
        return "nobody"
    return "forbidden" if status == 403 else None


def test_every_route_lets_in_who_has_its_right_and_nobody_else(callers: Callers) -> None:
    wrong = []
    for route in ROUTES:
        for role in (None, *Role):
            status, location, _ = callers.ask(role, route)
            kept_out = is_kept_out(status, location)
            if role is None:
                expected = None if route.right is Right.OPEN else "nobody"
            else:
                expected = None if RIGHTS[role] >= route.right else "forbidden"
            if route.path == "/logout":  # leads to the login page whoever asks
                expected = kept_out = None
            if route.path == "/account/sessions/end-all" and role is not None:
                assert location == "/login"
                expected = kept_out = None
            if route.path in ("/login", "/api/v1/login") and status in (401, 422):  # no name and no password
                kept_out = None
            if kept_out != expected:
                wrong.append(f"{route} ({route.right.name}) as {role}: {status} {location}")
            if role is None and kept_out and route.is_api:
                assert status == 401, f"{route}: a program is not led to a page"
    assert wrong == []


def expected_of_token(route: Route, role: Role, kind: str) -> str | None:
    if route.right is Right.OPEN:
        return None
    if not route.is_api:
        return "nobody"
    opened = not route.path.startswith(NO_TOKEN) and (route.is_safe or kind == TOKEN)
    return None if opened and RIGHTS[role] >= route.right else "forbidden"


@pytest.mark.parametrize("kind", [TOKEN, READING_TOKEN])
def test_a_token_opens_of_the_api_what_its_account_may_and_no_page(callers: Callers, kind: str) -> None:
    wrong = []
    for route in ROUTES:
        for role in Role:
            status, location, _ = callers.ask(role, route, by=kind)
            kept_out = is_kept_out(status, location)
            if route.path in ("/login", "/logout", "/api/v1/login"):  # see above
                kept_out = None
            if kept_out != expected_of_token(route, role, kind):
                wrong.append(f"{route} ({route.right.name}) with a {kind} of {role}: {status} {location}")
    assert wrong == []


@pytest.mark.parametrize("by", [SESSION, TOKEN])
def test_another_facility_is_not_there_for_a_facilitys_account(callers: Callers, by: str) -> None:
    wrong = []
    for route in ROUTES:
        if RIGHTS[Role.FACILITY] < route.right or route.right is Right.OPEN or not is_open_to(by, route):
            continue
        own, there = route.address(), route.address(slug="strangers")
        named = [f"{own}?facility=strangers", f"{own}?facility=central&facility=strangers"]
        if "slug" in route.parameters:
            named += [there, f"{there}?facility=central"]
        for address in named:
            status, _, text = callers.ask(Role.FACILITY, route, address, by=by)
            nowhere = callers.ask(Role.FACILITY, route, address.replace("strangers", "nowhere-at-all"), by=by)
            if status != 404 or nowhere[0] != 404:
                wrong.append(f"{route}: {address} is answered with {status}")
            # Whether there is such a facility cannot be told from the answer either.
            assert text.replace("strangers", "…") == nowhere[2].replace("nowhere-at-all", "…")
    assert wrong == []


def is_open_to(by: str, route: Route) -> bool:
    return by == SESSION or (route.is_api and not route.path.startswith(NO_TOKEN))


def test_routes_without_a_facility_in_their_path_were_looked_at() -> None:
    unnamed = {str(route) for route in ROUTES if route.right <= Right.SEE and "slug" not in route.parameters}
    assert unnamed - REVIEWED.keys() == set(), (
        "a facility's account may ask these, and their paths name no facility: look that each shows only what is the "
        "caller's own (Caller.scope, Caller.sees), then add it to REVIEWED"
    )
    assert REVIEWED.keys() - unnamed == set(), "these are not there any more"


@pytest.mark.usefixtures("filed")
def test_nothing_is_changed_by_looking(site: Site, callers: Callers) -> None:
    """But when a session was seen last, and who asked for what: links from elsewhere are followed with the cookie."""

    def kept() -> dict[str, list[Any]]:
        tables = [each for each in Base.metadata.sorted_tables if each.name not in ("web_session", "event")]
        assert {"facility", "account", "api_token", "study", "notification_rule"} <= {each.name for each in tables}
        with reading(site.engine) as connection:
            return {each.name: list(connection.execute(select(each))) for each in tables}

    before = kept()
    for route in ROUTES:
        if route.is_safe:
            callers.ask(Role.ADMIN, route)
    assert kept() == before


# -- what stands in the answers

SECRET = "Zyxwvut"
OPEN_TO_ALL = {"/metrics"}  # see `web.metrics`
FOREIGN = ("strangers", "Strangers", "STRANGERSAET", "STRANGERSCT", SECRET, f"{SECRET}-1")
UIDS = {"study": "1.2.826.9", "series": "1.2.826.9.1", "instance": "1.2.826.9.1.1", "sop": "1.2.826.9.1.1"}


@pytest.fixture
def filed(site: Site, callers: Callers) -> Iterator[None]:
    """A study of each of the two facilities."""
    intake = Intake(site.settings)
    ours, theirs = (
        {"study": uid, "series": f"{uid}.1", "sop_instance": f"{uid}.1.1"} for uid in ("1.2.826.7", "1.2.826.9")
    )
    spooled = [
        intake.instance(slug="central", name="Ownerby^Ulla", patient_id="OWN-1", **ours),
        intake.instance(slug="strangers", name=f"{SECRET}^Vera", patient_id=f"{SECRET}-1", **theirs),
    ]
    entries = [each.entry for each in spooled] + [
        intake.put(b"no DICOM at all", slug=slug, sop_instance=uid)
        for slug, uid in (("central", "1.2"), ("strangers", "1.3"))
    ]
    Filer(site.engine, site.settings).file([(each, None) for each in entries])
    now = datetime.now(UTC)
    for slug, title in (("central", "CENTRALCT"), ("strangers", "STRANGERSCT")):
        row = {"association_id": slug, "port": 11112, "called": title, "calling": title, "address": "192.0.2.9"}
        row |= {"started_at": now, "ended_at": now, "outcome": "released", "instances": 1}
        row |= {"facility_id": site.registry("test").get(slug).id}
        with site.engine.begin() as connection:
            connection.execute(insert(AssociationRecord).values(row))
    yield
    intake.close()


@pytest.fixture
def held(site: Site, filed: None) -> str:
    """The name of what lies in the other facility's quarantine."""
    other = site.registry("test").get("strangers").id
    with reading(site.engine) as connection:
        return str(connection.scalar(select(Quarantined.name).where(Quarantined.facility_id == other)))


@pytest.mark.parametrize("by", [SESSION, TOKEN])
def test_nothing_of_another_facility_stands_in_any_answer(callers: Callers, held: str, by: str) -> None:
    wrong = []
    for route in ROUTES:
        if RIGHTS[Role.FACILITY] < route.right or not route.is_safe or route.path in OPEN_TO_ALL:
            continue
        if not is_open_to(by, route):
            continue
        # The other facility's UIDs below one's own slug; and half of its patient's name, as it may be searched for.
        known = UIDS | {"name": held}
        places = {name: value for name in route.parameters for key, value in known.items() if key in name}
        for query in ("", "?q=zyxwv", "?patient=zyxwv*", f"?study={UIDS['study']}&modality=CT"):
            status, _, text = callers.ask(Role.FACILITY, route, route.address(**places) + query, by=by)
            wrong += [f"{route}{query}: {status}, has {each}" for each in FOREIGN if each in text]
    assert wrong == []


@pytest.mark.usefixtures("filed")
def test_an_admin_is_shown_both(callers: Callers) -> None:
    """Else the test above could not fail."""
    shown = "".join(callers.ask(Role.ADMIN, route)[2] for route in ROUTES if route.is_safe)
    assert "Central" in shown
    assert "Strangers" in shown
