"""Where slices lie along their common normal, by their files' headers: the order where numbers tell none."""

import os
from collections.abc import Sequence
from pathlib import Path

from noctis.errors import StorageError
from noctis.repository import filemeta
from noctis.repository.archived import FileGoneError, open_archived
from noctis.repository.header import BIG_ENDIAN, DEFLATED, IMPLICIT
from noctis.repository.walk import NotUnderstood, Source, TooMuch, Truncated, walk

FILES_MAX = 300  # that are opened
_POSITION, _ORIENTATION = 0x00200032, 0x00200037
_WANTED = frozenset((_POSITION, _ORIENTATION))

Vector = tuple[float, ...]


def along_normal(archive: Path, files: Sequence[tuple[str, str, str]]) -> dict[str, float]:
    """Position, mm, of each instance along the normal of the first one that has an orientation (PS3.3 §C.7.6.2.1.1).

    Parameters
    ----------
    files
        Slug, path below the archive's folder, and SOP Instance UID. Of more than `FILES_MAX` none is opened.
    """
    if len(files) > FILES_MAX:
        return {}
    found: dict[str, float] = {}
    normal: Vector | None = None
    for slug, path, uid in files:
        position, orientation = _read(archive, slug, path)
        if len(position) != 3:
            continue
        if normal is None and len(orientation) == 6:
            normal = _cross(orientation[:3], orientation[3:])
        if normal is not None:
            found[uid] = sum(one * other for one, other in zip(position, normal, strict=True))
    return found


def _read(archive: Path, slug: str, path: str) -> tuple[Vector, Vector]:
    try:
        descriptor = open_archived(archive, slug, path)
    except FileGoneError:
        return (), ()
    try:
        meta = filemeta.read(descriptor)
        syntax = meta.transfer_syntax_uid
        if syntax in DEFLATED:
            return (), ()
        source = Source(descriptor, meta.dataset_start)
        values = walk(source, _WANTED, implicit=syntax in IMPLICIT, big=syntax == BIG_ENDIAN)
    except (OSError, StorageError, NotUnderstood, Truncated, TooMuch):
        return (), ()
    finally:
        os.close(descriptor)
    return _numbers(values.get(_POSITION)), _numbers(values.get(_ORIENTATION))


def _numbers(found: tuple[bytes | None, bytes, int] | None) -> Vector:
    if found is None:
        return ()
    try:
        return tuple(float(each) for each in found[1].decode("ascii").strip("\0 ").split("\\"))
    except ValueError:
        return ()


def _cross(first: Vector, second: Vector) -> Vector:
    return (
        first[1] * second[2] - first[2] * second[1],
        first[2] * second[0] - first[0] * second[2],
        first[0] * second[1] - first[1] * second[0],
    )
