"""The first minutes: the link in the log, the first admin, logging out and in again."""

import re

from playwright.sync_api import expect

from tests.support import wait_for
from tests.system.conftest import Noctis
from tests.system.web.conftest import PASSWORD, Visit


def test_from_the_link_to_the_second_login(paged: Noctis, visit: Visit) -> None:
    (told,) = wait_for(lambda: paged.events("web.set_up"), what="the link in the log")
    assert paged.cli("web", "link").strip() == told["link"]
    page, watch = visit(paged)
    page.goto(told["link"])
    page.get_by_label("User").fill("ada")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_label("Password, again").fill(PASSWORD)
    page.get_by_role("button", name="Make the account").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Facilities")
    page.get_by_role("button", name="Log out").click()
    expect(page).to_have_url(re.compile("/login$"))
    watch.expected = {401}
    page.get_by_label("User").fill("ada")
    page.get_by_label("Password").fill("not the password")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("alert")).to_contain_text("wrong")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Facilities")
