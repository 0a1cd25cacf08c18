"""`noctis import`: files of a folder tree or DICOMDIR, through the same spool as what arrives by the network."""

from datetime import UTC, datetime
from pathlib import Path

import click

from noctis.cli.archive import progress_bar
from noctis.cli.common import App, emit_json, json_option, plain
from noctis.cli.events import note
from noctis.errors import ExitCode

SKIPPED_SHOWN = 20


@click.command("import")
@click.argument("facility")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="PATH…")
@json_option
@click.pass_obj
def import_(app: App, facility: str, paths: tuple[Path, ...], as_json: bool) -> int:
    """File what lies in PATH… under FACILITY. May be run again after an interruption: nothing is filed twice.

    PATH is a file, a folder (taken with all below it) or a DICOMDIR. What is no DICOM is skipped and listed. The files
    must be readable by the user whom the home belongs to.
    """
    from noctis.importing.importer import Importer

    record = app.registry.get(facility)
    begun = datetime.now(UTC)
    importer = Importer(app.settings, record.slug, record.ae_title)
    files = importer.find(paths)
    with progress_bar("importing") as update:
        importer.spool(files, update)
    with progress_bar("filing") as update:
        importer.file(app.engine(), app.control, update)
    importer.count(app.engine())
    result = importer.result
    note(
        app,
        "import.done",
        record.slug,
        facility=record.slug,
        paths=len(paths),  # and not their names, which may be patients'
        began_at=begun.isoformat(),
        **{name: count for name, count in vars(result).items() if name != "skipped"},
        skipped=len(result.skipped),
    )
    if as_json:
        emit_json(result.as_json())
    else:
        click.echo(
            f"{result.spooled} instances taken: {result.imported} imported, {result.duplicates} duplicates, "
            f"{result.quarantined} in quarantine; {len(result.skipped)} files skipped."
        )
        if result.waiting:
            click.echo(f"{result.waiting} wait in the spool until the archiver files them: noctis status")
        if result.quarantined:
            click.echo(f"See them with: noctis quarantine list --facility {record.slug}")
        for path, why in result.skipped[:SKIPPED_SHOWN]:
            click.echo(f"  skipped {plain(path)}: {plain(why)}", err=True)
        if len(result.skipped) > SKIPPED_SHOWN:
            click.echo(f"  … and {len(result.skipped) - SKIPPED_SHOWN} more (--json lists all)", err=True)
    return ExitCode.FOUND_WRONG if result.skipped and not result.spooled else ExitCode.DONE
