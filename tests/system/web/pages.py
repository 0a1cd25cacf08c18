"""Every page that there is, for tests and screenshots that go through all of them."""

from typing import Any

from noctis.web.access import COOKIE
from tests.system.conftest import Noctis

Known = dict[str, str]

PAGES = {  # name → path; what is in braces is in `known`
    "facilities": "/",
    "silence": "/silence",
    "silence_one": "/silence/{slug}",
}


def known(noctis: Noctis) -> Known:
    """Something of each kind, from the index of a Noctis that `tests.browser.scene` filled."""
    slug, study, series = noctis.sql(
        "SELECT facility.slug, study_instance_uid, series_instance_uid FROM study"
        " JOIN facility ON facility.id = facility_id JOIN series ON series.study_id = study.id"
        " WHERE study_description = 'CT chest'"
    )[0]
    instance = noctis.sql(
        "SELECT sop_instance_uid FROM instance JOIN series ON series.id = series_id"
        " WHERE series_instance_uid = ? ORDER BY CAST(instance_number AS INTEGER) LIMIT 1 OFFSET 10",
        series,
    )[0][0]
    name = noctis.sql("SELECT name FROM quarantined LIMIT 1")[0][0]
    return {"slug": slug, "study": study, "series": series, "instance": instance, "quarantined": name}


def cookie_of(noctis: Noctis, secret: str) -> Any:
    """A session's cookie, as Playwright takes it."""
    return {"name": COOKIE, "value": secret, "url": f"http://127.0.0.1:{noctis.settings.web.port}"}
