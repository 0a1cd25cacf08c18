"""Every operation of the API, those included that are added some day, asked by schemathesis as an admin would.

What fits the OpenAPI document and what does not is sent; whatever comes, nothing is answered with 5xx but what a
missing supervisor explains, and every answer is as the document says. The same examples in every run;
`scripts/fuzz-api 1000` sends more, and others each time.
"""

import os
from typing import Any

import pytest
import requests
import schemathesis
from fastapi import Request
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import load_all_checks, not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from noctis.archiver.filing import Filer
from noctis.config import load_settings
from noctis.facilities.registry import Registry
from noctis.users.accounts import AccountRecord
from noctis.users.roles import Role
from noctis.users.sessions import Sessions
from noctis.web.access import COOKIE
from noctis.web.api.docs import document
from noctis.web.site import Site
from tests.conftest import BACKENDS
from tests.integration.web.application import create_app
from tests.integration.web.conftest import ORIGIN, PASSWORD, tell_listeners
from tests.spooling import Intake

EXAMPLES = int(os.environ.get("TEST_API_FUZZ", "0"))  # of each operation; 0: few, and always the same
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
STUDY = "1.2.826.7"
# What is there, so that more is reached than "there is no such thing". By the name of a path's parameter.
PLACES = {"slug": "central", "name": "bob", "study": STUDY, "series": f"{STUDY}.1", "sop": f"{STUDY}.1.1"}


def document_of(site: Site) -> dict[str, Any]:
    return document(Request({"type": "http", "app": create_app(site), "headers": [], "method": "GET", "path": "/"}))


DOCUMENT = document_of(Site(load_settings()))
OPERATIONS = [(path, method) for path, operations in DOCUMENT["paths"].items() for method in operations]
# In the short form half of them on each database.
PLANNED = [
    (backend, path, method)
    for number, (path, method) in enumerate(OPERATIONS)
    for backend in (BACKENDS if EXAMPLES else (BACKENDS[number % len(BACKENDS)],))
]
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT)
load_all_checks()


class Always(Sessions):
    """Whatever the cookie: it is an admin's, even after a log-out."""

    def account(self, secret: str, *, touch: bool = True, looking: bool = False) -> AccountRecord | None:
        return self.admin

    admin: AccountRecord


@pytest.fixture
def client(site: Site, registry: Registry) -> TestClient:
    registry.add("Central")
    tell_listeners(site)
    intake = Intake(site.settings)
    entry = intake.instance(study=STUDY, series=f"{STUDY}.1", sop_instance=f"{STUDY}.1.1").entry
    Filer(site.engine, site.settings).file([(entry, None)])
    intake.close()
    sessions = Always(site.engine, site.settings.web)
    sessions.admin = site.accounts("test").add("ada", PASSWORD, Role.ADMIN)
    site.accounts("test").add("bob", PASSWORD, Role.FACILITY, facility="central")
    vars(site)["sessions"] = sessions
    return TestClient(create_app(site), base_url=ORIGIN, follow_redirects=False, raise_server_exceptions=False)


@pytest.mark.parametrize(("backend", "path", "method"), PLANNED, indirect=["backend"])
def test_whatever_is_asked(client: TestClient, path: str, method: str) -> None:
    operation = SCHEMA[path][method.upper()]

    def strategy(mode: GenerationMode) -> st.SearchStrategy[Any]:
        return operation.as_strategy(generation_mode=mode)

    @settings(
        max_examples=EXAMPLES or 6,
        derandomize=not EXAMPLES,
        database=None,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=st.one_of(strategy(GenerationMode.POSITIVE), strategy(GenerationMode.NEGATIVE)), known=st.data())
    def ask(case: Any, known: Any) -> None:
        for name in case.path_parameters or {}:
            there = next((value for key, value in PLACES.items() if key in name), None)
            if there is not None and known.draw(st.booleans()):
                case.path_parameters[name] = there
        _ask(client, case)

    ask()


def _ask(client: TestClient, case: Any) -> None:
    prepared = requests.Request(**case.as_transport_kwargs(base_url=ORIGIN)).prepare()
    headers = {name: value for name, value in prepared.headers.items() if name.lower() != "cookie"}
    answer = client.request(
        prepared.method or "", prepared.url or "", headers=headers | {"Cookie": f"{COOKIE}=x"}, content=prepared.body
    )
    if answer.status_code == 503 and "supervisor" in answer.text:
        return  # there is none here
    case.validate_response(answer, checks=CHECKS)


def test_there_is_something_to_ask() -> None:
    assert ("/api/v1/users", "post") in OPERATIONS
