"""A token from the page of one's account, in the API's reader and by a program."""

import re

import httpx2
from playwright.sync_api import expect

from tests.browser.chromium import violations
from tests.support import wait_for
from tests.system.conftest import Noctis
from tests.system.web.conftest import PASSWORD, Visit, base_of


def test_from_the_page_to_the_reader_and_a_program(paged: Noctis, visit: Visit) -> None:
    page, _ = visit(paged, "operator")
    page.goto("/account")
    page.get_by_label("What it is for").fill("nightly export")
    page.get_by_label("Your current password").fill(PASSWORD)
    page.get_by_role("button", name="Make a token").click()
    token = page.locator("#token").inner_text()
    assert re.fullmatch("noctis_[0-9a-f]{64}", token)
    assert violations(page) == []
    page.get_by_role("link", name="I have it").click()
    row = page.get_by_role("row", name="nightly export")
    expect(row).to_contain_text("only reads")
    assert token not in page.content()
    assert violations(page) == []

    page.goto("/api/docs")
    page.get_by_role("button", name="Authorize").first.click()
    dialog = page.get_by_role("dialog", name="Authorize")
    dialog.get_by_label("Token").fill(token)
    assert violations(page) == []
    dialog.locator("form", has_text="Bearer").get_by_role("button", name="Authorize").click()
    expect(dialog.get_by_role("button", name="Logout")).to_be_visible()
    assert violations(page) == []
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    me = page.locator("#operations-log-in-me_api_v1_me_get")
    me.get_by_role("button").first.click()
    me.get_by_role("button", name="Try it out").click()
    with page.expect_response("**/api/v1/me") as asked:
        me.get_by_role("button", name="Execute").click()
    assert asked.value.json()["token"]["name"] == "nightly export"  # and not the session's
    assert asked.value.request.headers["authorization"] == f"Bearer {token}"

    def ask() -> httpx2.Response:
        return httpx2.get(f"{base_of(paged)}/api/v1/me", headers={"Authorization": f"Bearer {token}"}, timeout=60)

    assert ask().json()["user"]["name"] == "operator"
    (listed,) = paged.json("user", "token", "list", "operator")
    assert listed["address"] == "127.0.0.1"
    page.goto("/account")
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="End the token nightly export").click()
    expect(page.get_by_text("That token has ended.")).to_be_visible()
    assert ask().status_code == 401
    wait_for(lambda: paged.json("event", "list", "--action", "token"), what="the events")
    assert token not in paged.log.read_text() + paged.cli("event", "list")
