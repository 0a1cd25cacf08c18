"""The elements of an instance, searched and in pages: what the page and the API show."""

import os
from dataclasses import dataclass

from noctis.errors import StorageError
from noctis.repository.archived import open_archived
from noctis.repository.elements import Element, read_open
from noctis.repository.images import ImageRow
from noctis.web.site import Site


@dataclass(frozen=True)
class Page:
    """Some of the elements that were asked for."""

    elements: list[Element]
    total: int  # that fit the search
    problem: str  # why the list ends before the file does


def read(site: Site, row: ImageRow, *, whole: str = "") -> tuple[list[Element], str]:
    """All elements, and why there are no more."""
    with site.effort.of(row.slug):
        return _read(site, row, whole=whole)


def _read(site: Site, row: ImageRow, *, whole: str = "") -> tuple[list[Element], str]:
    descriptor = open_archived(site.home.media, row.slug, row.path)
    try:
        listing = read_open(descriptor, whole=whole)
        return listing.elements, listing.problem
    except StorageError as error:
        return [], error.message
    finally:
        os.close(descriptor)


def page(site: Site, row: ImageRow, search: str, offset: int, limit: int) -> Page:
    """Those in whose tag, keyword, name or value `search` is, with the sequences that they stand in."""
    with site.effort.of(row.slug):
        found, problem = _read(site, row)
        if search.strip():
            found = _matching(found, search)
        return Page(found[offset : offset + limit], len(found), problem)


def whole_value(site: Site, row: ImageRow, path: str) -> Element | None:
    """One element with its value as far as any is shown (`elements.WHOLE_MAX`); None: there is none at this place."""
    found, _ = read(site, row, whole=path)
    return next((each for each in found if each.path == path), None)


def _matching(elements: list[Element], search: str) -> list[Element]:
    wanted = search.strip().casefold()
    plain = "".join(each for each in wanted if each.isalnum())  # a tag may be typed as 0010,0010 or 00100010
    keep: set[tuple[int, ...]] = set()
    for each in elements:
        tag = each.tag[1:5] + each.tag[6:10]
        by_tag = plain and len(plain) >= 4 and plain in tag.casefold()
        if by_tag or any(wanted in text.casefold() for text in (each.keyword, each.name, each.text, each.meaning)):
            place = each.place
            keep |= {place[:end] for end in range(1, len(place) + 1, 2)}
    return [each for each in elements if each.place in keep]
