"""AE titles and slugs from names. Pure: takes text, gives text, knows nothing of what is taken."""

import re
import secrets

from anyascii import anyascii

from noctis.errors import UsageError

AE_TITLE_MAX = 16  # characters, PS3.5 §6.2 (VR AE)
STEM = 11  # characters of the name in a generated AE title; four random hex digits follow
SLUG_MAX = 48
CHECKING = "NOCTIS_CHECK"  # the calling AE title of our own echoes: no sender's
IMPORTING = "IMPORT"  # the calling AE title that the index shows of what was imported
RESERVED_SLUGS = frozenset(
    {"default", "archiver", "audit", "notifier", "scheduler", "watcher", "web"}
)  # process names beside the facilities'


def ascii_letters(name: str) -> str:
    """`name` transliterated to ASCII, upper case, letters and digits only: `Žilina č. 2` → `ZILINAC2`."""
    return re.sub(r"[^A-Z0-9]", "", anyascii(name).upper())


def generate_ae_title(name: str, digits: str = "") -> str:
    """An AE title such as `CENTRALHOSP1A2B` for `Central Hospital`; the four hex digits are random unless given."""
    if not re.fullmatch(r"[0-9A-F]{4}", digits):
        digits = secrets.token_hex(2).upper()
    return f"{ascii_letters(name)[:STEM] or 'FACILITY'}{digits}"


def slugify(name: str) -> str:
    """The name as a folder and command-line word: `Central Hospital` → `central-hospital`."""
    plain = re.sub(r"['`]", "", anyascii(name).lower())  # St. Mary's is st-marys
    slug = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:SLUG_MAX].strip("-")
    slug = slug or "facility"
    return f"{slug}-1" if slug in RESERVED_SLUGS else slug


def is_slug(text: str) -> bool:
    """Whether `text` may be a folder name here. Rows written by plain SQL are held to it too."""
    return bool(re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,62}[a-z0-9])?", text)) and text not in RESERVED_SLUGS


def check_name(name: str) -> str:
    """`name` with surrounding space removed.

    Raises
    ------
    UsageError
        It is empty, too long or holds control characters.
    """
    name = " ".join(name.split())
    if not name:
        raise UsageError("a facility's name must not be empty", fix='noctis facility add "Central Hospital"')
    if len(name) > 200:
        raise UsageError(f"the name has {len(name)} characters; at most 200 are kept")
    if not name.isprintable():
        raise UsageError("the name holds control characters")
    return name


def check_ae_title(title: str) -> str:
    """`title` without leading and trailing spaces, which do not count.

    Raises
    ------
    UsageError
        It is empty, over 16 characters, or has characters outside VR AE (PS3.5 §6.2: no backslash, no control).
    """
    stripped = title.strip(" ")
    if not stripped:
        raise UsageError("an AE title must not be empty")
    if len(stripped) > AE_TITLE_MAX:
        raise UsageError(
            f"the AE title {stripped!r} has {len(stripped)} characters; DICOM allows {AE_TITLE_MAX}",
            fix=f"try {stripped[:AE_TITLE_MAX]!r}, or leave it out to have one generated",
        )
    bad = sorted({character for character in stripped if not " " <= character <= "~" or character == "\\"})
    if bad:
        raise UsageError(
            f"the AE title {stripped!r} has characters that DICOM does not allow: {' '.join(map(repr, bad))}",
            fix="use letters, digits, space, _ and -",
        )
    return stripped
