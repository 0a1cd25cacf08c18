"""A facility's life on the pages, in a real browser, with dcmtk's tools as its modality."""

import os
import re
import signal
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from noctis.observability import live
from tests.browser import phantoms
from tests.browser.chromium import DESKTOP, PHONE, SCHEMES, is_too_wide, violations
from tests.support import free_port, listens, wait_for
from tests.system.associations import open_association
from tests.system.conftest import MakeNoctis, Noctis
from tests.system.senders import echoscu, storescu
from tests.system.web.conftest import Visit

SLOWLY = 30_000  # milliseconds: what the archiver and two polls have to be through with


@pytest.fixture
def paged(make_noctis: MakeNoctis) -> Noctis:
    """With its pages; studies are complete at once."""
    port = free_port()
    noctis = make_noctis(web={"enabled": True, "port": port}, archiver={"study_quiet_seconds": 1}).start()
    wait_for(lambda: listens(port), what="the web process")
    return noctis


def step(page: Page, key: str, done: str) -> None:
    expect(page.locator(f"#step-{key}")).to_have_attribute("data-done", done, timeout=SLOWLY)


def test_a_facility_is_added_and_its_checklist_ticks(paged: Noctis, visit: Visit, tmp_path: Path) -> None:
    page, _ = visit(paged, "admin")
    page.goto("/")
    page.click("#add")
    page.locator("#name").press_sequentially("Central Hospital", delay=10)
    title, port = page.locator("#ae_title"), page.locator("#port")
    expect(title).to_have_value(re.compile("^CENTRALHOSP[0-9A-F]{4}$"))
    expect(page.locator("#generated")).to_contain_text("central-hospital")
    expect(page.locator("#name")).to_be_focused()
    shown = (title.input_value(), int(port.input_value()))
    page.click("#save")
    page.wait_for_url("**/facilities/central-hospital/onboarding")
    central = paged.registry().get("central-hospital")
    assert (central.ae_title, central.port) == shown
    step(page, "port", "yes")
    for key in ("connection", "echo", "instance", "complete"):
        step(page, key, "no")
    assert not echoscu(central.port, "WRONG")
    expect(page.locator("#step-connection")).to_contain_text("was turned away", timeout=SLOWLY)
    assert echoscu(central.port, central.ae_title, "CT_1")
    step(page, "echo", "yes")
    step(page, "connection", "yes")
    step(page, "instance", "no")
    sent = phantoms.ct(tmp_path, "Doe^Jane", "1001", "CT chest", "20261125", 3)
    storescu(central.port, central.ae_title, sent, calling="CT_1")
    step(page, "instance", "yes")
    step(page, "complete", "yes")
    page.goto("/")
    expect(page.locator("#today-central-hospital")).to_have_text("1", timeout=SLOWLY)
    expect(page.locator("#door-central-hospital")).to_contain_text("open")


def test_an_edit_says_what_it_does_and_does_it(paged: Noctis, visit: Visit) -> None:
    central, north = paged.add("Central"), paged.add("North")
    paged.wait_listener("central")
    page, _ = visit(paged, "admin")
    page.goto("/facilities/central/edit")
    page.fill("#port", str(north.port))
    expect(page.locator("#effect")).to_contain_text("is taken by 'North'")
    new = central.port + 5
    page.fill("#port", str(new))
    expect(page.locator("#effect")).to_contain_text(f"A new listener opens port {new}, then port {central.port} closes")
    expect(page.locator("#effect")).to_contain_text("nobody is cut off")
    with open_association(central.port, central.ae_title):
        expect(page.locator("#effect")).to_contain_text("The 1 association that is open")  # by itself
    assert paged.listener("central")["port"] == central.port
    page.click("#save")
    page.wait_for_url("**/facilities/central")
    paged.wait_listener("central", port=new)
    assert echoscu(new, central.ae_title)
    page.click("#disable")
    expect(page.locator("#effect")).to_contain_text("new callers are refused")
    with open_association(new, central.ae_title):
        expect(page.locator("#effect")).to_contain_text("1 association")
    page.click("#do-disable")
    expect(page.locator("#now")).to_contain_text("disabled")
    wait_for(lambda: not paged.listener("central"), what="the end of the listener")


def test_polling_moves_neither_focus_nor_scroll(paged: Noctis, visit: Visit) -> None:
    for number in range(30):
        paged.add(f"Clinic {number:02}")
    for number in range(30):  # what is not open yet stands first
        paged.wait_listener(f"clinic-{number:02}")
    page, _ = visit(paged, "admin")
    page.goto("/")
    expect(page.locator("#conditions")).to_have_count(0, timeout=SLOWLY)  # all are open here too
    # Without scrolling to it, which is smooth: it would go on for a moment.
    page.locator("#to-clinic-25").evaluate("link => link.focus({preventScroll: true})")
    assert page.evaluate("scrollTo({top: 250, behavior: 'instant'}), scrollY") > 0
    there = "document.querySelector('#to-clinic-25').getBoundingClientRect().top"
    before = page.evaluate(there)
    for _ in range(2):
        with page.expect_response(lambda response: "hx-request" in response.request.headers):
            pass
    expect(page.locator("#to-clinic-25")).to_be_focused()
    assert abs(page.evaluate(there) - before) < 5
    page.fill("#q", "clinic 07")
    expect(page.locator("#doors tbody tr")).to_have_count(1)
    assert page.url.endswith("?q=clinic+07") or page.url.endswith("?q=clinic%2007")


def test_who_is_connected_is_seen_and_a_killed_listeners_callers_are_not(paged: Noctis, visit: Visit) -> None:
    central = paged.add("Central")
    paged.wait_listener("central")
    page, _ = visit(paged, "admin")
    page.goto("/live")
    with open_association(central.port, central.ae_title), open_association(paged.port, central.ae_title):
        rows = page.locator("#live [id^=open-to-]")
        expect(rows).to_have_count(2, timeout=SLOWLY)
        expect(rows.first).to_have_text("Central")
        os.kill(paged.listener("central")["pid"], signal.SIGKILL)
        wait_for(lambda: len(live.read(paged.settings.paths.live)) == 1, what="one of them to be gone")
        expect(rows).to_have_count(1, timeout=SLOWLY)
        expect(page.locator("#live")).to_contain_text(str(paged.port))
    expect(page.locator("#live")).to_contain_text("disconnected", timeout=SLOWLY)


def test_axe_finds_nothing(paged: Noctis, visit: Visit) -> None:
    central = paged.add("Central Hospital")
    paged.add("Off")
    paged.registry().edit("off", {"enabled": False})
    paged.wait_listener("central-hospital")
    assert not echoscu(central.port, "WRONG")
    paths = ["/", "/live", "/add-facility", "/removed-facilities"]
    paths += [f"/facilities/central-hospital{part}" for part in ("", "/edit", "/onboarding", "/disable", "/remove")]
    wrong = {}
    for size in (DESKTOP, PHONE):
        for scheme in SCHEMES:
            page, _ = visit(paged, "admin", size=size, scheme=scheme)
            for path in paths:
                page.goto(path)
                if found := violations(page):
                    wrong[path, scheme] = found
                assert not is_too_wide(page), path
    assert wrong == {}
