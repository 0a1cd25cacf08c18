"""What of the home group or others could read: folders are 0700 and files 0600, for here are patients' data.

Looks at the top folders, the database with what lies beside it, and a sample of what is below each folder: an archive
of a million files costs no more than a small one.
"""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from noctis.home import Home

OTHERS = stat.S_IRWXG | stat.S_IRWXO
ENTRIES_MAX = 500  # looked at below one folder
NAMES_MAX = 20  # of one folder


def readable_by_others(home: Home) -> Iterator[tuple[str, str]]:
    """What is wrong, and the command that mends it."""
    tops = [folder for folder in home.folders() if folder.is_dir()]
    for folder in tops:
        if _open(folder):
            yield f"{folder} can be read by others", f"chmod 700 {folder}"
    for folder in tops:
        if folder == home.journal:
            continue  # below run/
        found = [path for path in _sample(folder, deep=folder != home.root) if path not in tops and _open(path)]
        if found:
            more = f", and so can {len(found) - 1} more of those looked at" if found[1:] else ""
            yield f"{found[0]} can be read by others{more}", f"chmod -R go= {folder}"


def _open(path: Path) -> bool:
    try:
        mode = path.lstat().st_mode
    except OSError:  # it has gone
        return False
    return bool(mode & OTHERS) and not stat.S_ISLNK(mode)


def _sample(folder: Path, *, deep: bool) -> Iterator[Path]:
    """Some of what lies in `folder`; `deep`: and below it, the nearer first."""
    line = [folder]
    left = ENTRIES_MAX
    while line and left:
        here = line.pop(0)
        try:
            with os.scandir(here) as entries:
                for _, entry in zip(range(NAMES_MAX if deep else left), entries, strict=False):
                    if not left:
                        return
                    left -= 1
                    yield Path(entry.path)
                    if deep and entry.is_dir(follow_symlinks=False):
                        line.append(Path(entry.path))
        except OSError:  # not ours to look into, which is told elsewhere
            continue
