"""What an instance that is no picture holds, as its page shows it: a report, a document, waveforms, a video."""

import os
from dataclasses import dataclass, field

from noctis.errors import StorageError
from noctis.repository import images
from noctis.repository.archived import FileGoneError, open_archived
from noctis.repository.elements import read_open
from noctis.repository.embedded import MP4, PDF, Embedded, embedded
from noctis.repository.images import ImageRow
from noctis.repository.report import TEXT_MAX, Report, report
from noctis.repository.waveforms import Group, waveforms
from noctis.web.site import Site


@dataclass(frozen=True)
class Contents:
    """Whatever of it there is."""

    report: Report | None = None
    linked: dict[str, ImageRow] = field(default_factory=dict)  # instances of the same study that the report refers to
    embedded: Embedded | None = None
    groups: list[Group] = field(default_factory=list)  # of waveforms
    problem: str = ""  # why there may be less of it than there should be

    @property
    def is_pdf(self) -> bool:
        return self.embedded is not None and self.embedded.media_type == PDF

    @property
    def plays(self) -> bool:
        return self.embedded is not None and self.embedded.media_type == MP4


def contents(site: Site, row: ImageRow) -> Contents:
    """What is to be shown of an instance above its elements; nothing of one that is a picture, or cannot be read."""
    if not row.no_image:
        return Contents()
    try:
        descriptor = open_archived(site.home.media, row.slug, row.path)
    except FileGoneError:
        return Contents()
    try:
        listing = read_open(descriptor, digest_max=0, long=TEXT_MAX)
        wrapped = embedded(descriptor, listing.elements, row.sop_class_uid, row.transfer_syntax_uid)
    except StorageError:
        return Contents()
    finally:
        os.close(descriptor)
    found = report(listing.elements)
    linked = images.of_study(site.engine, row.study_id, found.instances) if found is not None else {}
    return Contents(found, linked, wrapped, waveforms(listing.elements), listing.problem)
