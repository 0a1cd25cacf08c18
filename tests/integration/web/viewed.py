"""What the viewer's tests look at: three images of one series, whose numbers came in another order."""

from pathlib import Path

from noctis.archiver.filing import Filer
from noctis.web.site import Site
from tests.spooling import Intake

STUDY, SERIES = "1.2.826.7", "1.2.826.7.1"
API = f"/api/v1/studies/central/{STUDY}"
NAME = "<script>alert('x')</script>^Zoë"


def file_images(site: Site, intake: Intake) -> None:
    """They are filed at Central; one of the same UIDs at North."""
    spooled = [
        intake.instance(
            study=STUDY,
            series=SERIES,
            sop_instance=f"{SERIES}.{number}",
            number=number,
            name=NAME,
            pixels=bytes(range(256)) * 2,
        )
        for number in (3, 1, 2)
    ]
    spooled.append(
        intake.instance(slug="north", study=STUDY, series=SERIES, sop_instance=f"{SERIES}.9", name="Kestrel^Nora")
    )
    Filer(site.engine, site.settings).file([(each.entry, None) for each in spooled])


def file_of(site: Site, number: int) -> Path:
    return site.home.media / "central" / STUDY / SERIES / f"{SERIES}.{number}.dcm"
