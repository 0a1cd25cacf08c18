"""The quarantine as pages and API show it, and what they do with an instance in it."""

from pathlib import Path
from typing import Any

from noctis.errors import NotFoundError, StorageError, UsageError
from noctis.repository import events, filemeta
from noctis.repository import quarantine_list as listed
from noctis.repository.comparison import Comparison, compare
from noctis.repository.element_values import uid_name
from noctis.repository.elements import Element, Listing, read_elements
from noctis.repository.header import HeaderError, read_header
from noctis.repository.keyset import Page
from noctis.repository.quarantine import Reason, read_note
from noctis.repository.quarantine_list import QuarantineFilter
from noctis.repository.release import Released, discard, release
from noctis.users.roles import Right
from noctis.web.access import Caller, ForbiddenError
from noctis.web.site import Site

REASONS = {  # as people read them
    Reason.CONFLICT: "another version is filed",
    Reason.UID_MISMATCH: "UIDs differ from the announced ones",
    Reason.UNPARSEABLE: "cannot be read",
    Reason.MISSING_UID: "a UID is missing",
}
LONG = {
    Reason.CONFLICT: "An instance with the same SOP Instance UID is filed, and says something else. Both are kept. "
    "Compare them, then replace what is filed, or discard this one.",
    Reason.UID_MISMATCH: "The sender announced another SOP class or SOP Instance UID than the data set has. "
    "Released, it is filed by the UIDs of its data set.",
    Reason.UNPARSEABLE: "The data set is damaged, or cannot be read to where its UIDs are. "
    "It cannot be filed as it is.",
    Reason.MISSING_UID: "The data set has no Study, Series or SOP Instance UID. It cannot be filed as it is.",
}
FILTERS = ("facility", "reason", "q", "since", "until")


def filter_of(site: Site, caller: Caller, asked: dict[str, str]) -> QuarantineFilter:
    """What an address asks for, within what the caller may see.

    Raises
    ------
    NotFoundError
        There is no such facility.
    """
    facility_id = None
    if slug := asked.get("facility"):
        facility_id = site_facility_id(site, slug)
    return QuarantineFilter(
        facility_id=caller.scope(facility_id),
        reason=asked.get("reason"),
        text=asked.get("q"),
        since=asked.get("since"),
        until=asked.get("until"),
    )


def site_facility_id(site: Site, slug: str) -> int:
    """The id of a facility, removed ones too: what they have in quarantine stays.

    Raises
    ------
    NotFoundError
        There is none.
    """
    found = events.facility_id(site.engine, slug)
    if not found:
        raise NotFoundError(f"No facility found for {slug!r}", fix="noctis facility list")
    return found


def note_query(site: Site, caller: Caller, action: str, asked: dict[str, str], slug: str | None = None) -> None:
    """An event: who looked at what. Never what was typed: it may be a patient's."""
    slug = slug or asked.get("facility") or caller.account.facility
    site.journal.event(caller.name, action, {"fields": sorted(asked)}, slug=slug)


def looked_at(site: Site, wanted: QuarantineFilter, limit: int, after: str | None = None) -> Page:
    """A page of the quarantine."""
    site.quarantine.refresh()
    page = listed.page(site.engine, wanted, limit, after)
    return Page([with_names(row) for row in page.rows], page.next)


def with_names(row: dict[str, Any]) -> dict[str, Any]:
    """A row with its reason and SOP class in words."""
    return row | {
        "reason_words": REASONS.get(row["reason"], row["reason"]),
        "sop_class": uid_name(row["sop_class_uid"]) or row["sop_class_uid"],
    }


def one(site: Site, slug: str, name: str) -> tuple[dict[str, Any], Path]:
    """One instance and its file.

    Raises
    ------
    NotFoundError
        There is none of exactly this name.
    """
    site.quarantine.refresh()
    row = listed.one(site.engine, slug, name)
    return with_names(row), listed.file_of(site.home.quarantine, row)


def destination(path: Path) -> dict[str, str]:
    """The UIDs that a file would be filed by; {"problem": …} where it cannot be."""
    try:
        with path.open("rb") as file:
            meta = filemeta.read(file.fileno())
            header = read_header(file.fileno(), meta.dataset_start, meta.transfer_syntax_uid)
    except (HeaderError, StorageError, OSError) as error:
        return {"problem": getattr(error, "strerror", None) or str(getattr(error, "message", error))}
    if header.missing_uids:
        return {"problem": f"its data set has no {header.missing_uids}"}
    return {
        "study_instance_uid": header.study_instance_uid,
        "series_instance_uid": header.series_instance_uid,
        "sop_instance_uid": header.sop_instance_uid,
        "sop_class_uid": header.sop_class_uid,
        "transfer_syntax_uid": meta.transfer_syntax_uid,
    }


def shown(site: Site, slug: str, name: str) -> dict[str, Any]:
    """One instance, where it would be filed, and what is filed there already."""
    row, path = one(site, slug, name)
    target = destination(path)
    uid = target.get("sop_instance_uid") or row["sop_instance_uid"]
    filed = listed.filed_as(site.engine, slug, uid) if uid else None
    study = target.get("study_instance_uid")
    return {
        "row": row,
        "file": path,
        "target": target,
        "filed": filed,
        "has_study": bool(study) and listed.has_study(site.engine, slug, str(study)),
        "begun_into": read_note(path).into,
        "words": LONG.get(row["reason"], ""),
    }


def compared(site: Site, slug: str, name: str) -> tuple[dict[str, Any], dict[str, Any] | None, Comparison | None]:
    """The instance, what is filed under its SOP Instance UID, and their differences; None where nothing is filed.

    Raises
    ------
    StorageError
        One of the two cannot be read.
    """
    found = shown(site, slug, name)
    filed = found["filed"]
    if filed is None:
        return found, None, None
    with site.effort.of(slug):
        return found, filed, compare(filed_path(site, filed), found["file"])


def filed_path(site: Site, filed: dict[str, Any]) -> Path:
    """The file of a row of the index; it lies below the archive.

    Raises
    ------
    StorageError
        It is not there.
    """
    root = site.home.media
    path = root / str(filed["path"])
    if ".." in path.parts or not path.is_relative_to(root) or not path.is_file():
        raise StorageError("the file that is filed is not in the archive", fix="noctis archive verify")
    return path


def elements_of(site: Site, slug: str, path: Path) -> Listing:
    """Every element of a file; what is no DICOM file has none, and the list says so."""
    try:
        with site.effort.of(slug):
            return read_elements(path)
    except (StorageError, OSError) as error:
        return Listing([], str(getattr(error, "message", error)))


def as_json(element: Element | None) -> dict[str, Any] | None:
    """An element as the API says it."""
    if element is None:
        return None
    return {
        "vr": element.vr,
        "length": element.length,
        "vm": element.vm,
        "value": element.text,
        "cut": element.cut,
        "sha256": element.digest,
    }


# -- doing


def release_one(
    site: Site,
    caller: Caller,
    slug: str,
    name: str,
    *,
    replace: bool = False,
    into: str | None = None,
    out_of: str | None = None,
) -> Released:
    """File an instance after all.

    Parameters
    ----------
    into
        Another facility's slug, for admins; None or its own: its own.
    out_of
        Its own facility's slug, said again where another one is named.

    Raises
    ------
    ForbiddenError
        Into another facility, and the caller is no admin.
    UsageError
        Into another facility, and its own was not named.
    """
    target = into if into and into != slug else None
    if target is not None:
        if not caller.may(Right.ADMINISTER):
            raise ForbiddenError
        if (out_of or "").strip() != slug:
            raise UsageError(
                f"this would take an instance out of {slug} and into {target}: name both", fix=f"type {slug}"
            )
    one(site, slug, name)
    options: dict[str, Any] = {"replace": replace, "into": target, "actor": caller.name}
    return release(site.settings, site.engine, slug, name, **options)


def discard_one(site: Site, caller: Caller, slug: str, name: str) -> None:
    """Throw an instance away for good."""
    one(site, slug, name)
    discard(site.settings, site.engine, slug, name, actor=caller.name)
