"""`noctis version`: this release and the libraries it runs on."""

import platform
from importlib import metadata

import click

from noctis import __version__
from noctis.cli.common import App, emit_json, json_option, show_fields

LIBRARIES = ("pydicom", "pynetdicom", "SQLAlchemy", "alembic", "supervisor", "psycopg")


@click.command()
@json_option
@click.pass_obj
def version(app: App, as_json: bool) -> None:
    """Show the versions of Noctis, of Python and of what Noctis is built on."""
    versions: dict[str, object] = {"noctis": __version__, "python": platform.python_version()}
    versions |= {name: found for name in LIBRARIES if (found := installed(name))}
    if as_json:
        emit_json(versions)
    else:
        show_fields(versions)


def installed(name: str) -> str | None:
    """A library's version; None: it is not there."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
