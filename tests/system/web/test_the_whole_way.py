"""A hospital is taken on, sends, is refused, conflicts: all on the pages, in a real browser, with real senders."""

import io
import re
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, expect
from pydicom import dcmread

from tests import privacy
from tests.browser import phantoms
from tests.support import free_port, listens, wait_for
from tests.system.conftest import MakeNoctis, Noctis
from tests.system.senders import echoscu, run, storescu, tool
from tests.system.web.conftest import PASSWORD, Visit, accounts_of

NAME = "Doe^Jane<script>alert(1)</script>"


def test_the_whole_way(make_noctis: MakeNoctis, visit: Visit, tmp_path: Path) -> None:
    port = free_port()
    noctis = make_noctis(web={"enabled": True, "port": port}, archiver={"study_quiet_seconds": 2}).start()
    wait_for(lambda: listens(port), what="the web process")
    page, watch = visit(noctis, "admin")
    paths = phantoms.ct(tmp_path, NAME, "PAT<b>77", "CT chest", "20261120", 6, missing=(3,))
    for path in paths:
        privacy.sent(dcmread(path))
    title, own_port = take_on(page, "Central Hospital")
    send(page, own_port, title, paths)
    look_at_the_study(page)
    let_in(page, noctis, paths)
    resolve(page, noctis, own_port, title, paths, tmp_path)
    every_role(noctis, visit)
    watch.look()


def take_on(page: Page, name: str) -> tuple[str, int]:
    """A new facility, on the page; its AE title and port."""
    page.goto("/")
    page.get_by_role("link", name="Add a facility").click()
    page.locator("#name").press_sequentially(name, delay=20)
    expect(page.locator("#ae_title")).to_have_value(re.compile("^CENTRALHOSP[0-9A-F]{4}$"))
    expect(page.locator("#port")).to_have_value(re.compile("^[0-9]+$"))
    title, port = page.locator("#ae_title").input_value(), int(page.locator("#port").input_value())
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page).to_have_url(re.compile("/facilities/central-hospital/onboarding"))
    expect(page.locator("main")).to_contain_text(title)
    done(page, "port")
    for step in ("connection", "echo", "instance", "complete"):
        expect(page.locator(f"#step-{step}")).to_have_attribute("data-done", "no")
    return title, port


def done(page: Page, step: str) -> None:
    """The page ticks this by itself."""
    expect(page.locator(f"#step-{step}")).to_have_attribute("data-done", "yes", timeout=30_000)


def send(page: Page, port: int, title: str, paths: list[Path]) -> None:
    assert echoscu(port, title, "CT_1")
    done(page, "connection")
    done(page, "echo")
    storescu(port, title, paths, calling="CT_1")
    done(page, "instance")
    done(page, "complete")


def look_at_the_study(page: Page) -> None:
    page.get_by_role("link", name="Studies", exact=True).click()
    page.locator("#q").press_sequentially("pat<b>", delay=20)
    expect(page).to_have_url(re.compile(r"[?&]q=pat"))
    row = page.locator("#studies tbody tr").first
    expect(row).to_contain_text("Doe, Jane<script>alert(1)</script>")
    row.get_by_role("link").first.click()
    expect(page.locator("main")).to_contain_text("CT chest")
    expect(page.locator("#numbers")).to_contain_text("Missing")
    page.locator(".viewer-series a").last.scroll_into_view_if_needed()
    page.locator(".viewer-series h3 a").click()
    expect(page).to_have_url(re.compile("/series/"))
    wait_for(lambda: greys(page) > 20, what="a frame on the canvas")


def greys(page: Page) -> int:
    """How many values the middle of the viewer has."""
    picture = Image.open(io.BytesIO(page.locator("#canvas").screenshot())).convert("L")
    x, y = picture.width // 2, picture.height // 2
    return len(set(picture.crop((x - 100, y - 100, x + 100, y + 100)).tobytes()))


def let_in(page: Page, noctis: Noctis, paths: list[Path]) -> None:
    """A stranger at the default port: turned away, let in by the button, and then taken."""
    command = [tool("storescu"), "-aet", "CR_9", "-aec", "NOCTIS_SERVER", "127.0.0.1", str(noctis.port), paths[0]]
    assert run(*command).returncode != 0
    page.get_by_role("link", name="Refusals", exact=True).click()
    row = page.locator("#refusals tbody tr", has_text="CR_9")
    expect(row).to_contain_text("No facility found", timeout=30_000)
    row.get_by_role("link", name="Let in").click()
    page.locator("#facility").select_option("central-hospital")
    page.get_by_role("button", name="Add the device").click()
    wait_for(lambda: run(*command).returncode == 0, what="the sender to be let in")
    page.goto("/refusals")
    expect(page.locator("#refusals tbody tr", has_text="CR_9")).to_contain_text("let in", timeout=30_000)


def resolve(page: Page, noctis: Noctis, port: int, title: str, paths: list[Path], folder: Path) -> None:
    """The same instance with another name: compared element by element, and put in the place of the first."""
    other = dcmread(paths[0])
    other.PatientName = "Doe^Janet"
    privacy.sent(other)
    other.save_as(folder / "other.dcm")
    storescu(port, title, [folder / "other.dcm"], calling="CT_1")
    wait_for(lambda: noctis.sql("SELECT reason FROM quarantined") == [("conflict",)], what="the conflict")
    page.get_by_role("link", name="Quarantine", exact=True).click()
    row = page.locator("tbody tr", has_text="CT_1")
    expect(row).to_be_visible(timeout=30_000)
    row.get_by_role("link").first.click()
    differences = page.locator("#differences")
    expect(differences).to_contain_text("1 element differs")
    expect(differences).to_contain_text("Doe^Janet")
    expect(differences).to_contain_text(NAME)
    page.locator("#replace").click()
    expect(page).to_have_url(re.compile("/quarantine"))
    page.goto("/quarantine")
    expect(page.locator("tbody tr")).to_have_count(1)  # the older one is kept aside


ROLES = {  # role → what its navigation has, and has not
    "admin": ("Users", None),
    "operator": ("Refusals", "Users"),
    "viewer": ("Events", "Users"),
    "facility": ("Studies", "Refusals"),
}


def every_role(noctis: Noctis, visit: Visit) -> None:
    """Each by the form, with its password; what it may not see is not there; and out again."""
    for role, (shown, hidden) in ROLES.items():
        name = accounts_of(noctis, role, "central-hospital" if role == "facility" else None)
        page, watch = visit(noctis)
        page.goto("/login")
        page.get_by_label("User").fill(name)
        page.get_by_label("Password").fill(PASSWORD)
        page.get_by_role("button", name="Log in").click()
        navigation = page.get_by_role("navigation", name="Pages")
        expect(navigation.get_by_role("link", name=shown, exact=True)).to_be_visible()
        if hidden is not None:
            expect(navigation.get_by_role("link", name=hidden, exact=True)).to_have_count(0)
            watch.expected = {403}
            page.goto(f"/{hidden.lower()}")
            expect(page.locator("main")).to_contain_text("your account may not do this")
        page.get_by_role("button", name="Log out").click()
        expect(page).to_have_url(re.compile("/login$"))
        page.goto("/studies")
        expect(page).to_have_url(re.compile("/login"))
