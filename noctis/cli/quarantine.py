"""`noctis quarantine`: instances that could not be filed."""

import click

from noctis.cli.common import App, emit_json, json_option, plain, show_fields, show_table
from noctis.cli.events import note_query
from noctis.cli.study import facility_option, limit_option, of_facility
from noctis.errors import NotFoundError
from noctis.text import moment, size


@click.group()
def quarantine() -> None:
    """List, show, release and discard what could not be filed. Nothing leaves it by itself."""


def refresh(app: App) -> None:
    """Make the table say what the folder holds: an archiver may not be running."""
    from noctis.repository import quarantine_rows
    from noctis.repository.quarantine import Quarantine

    quarantine_rows.sync(app.engine(), Quarantine(app.home.quarantine), tell=app.settings.notifications.enabled)


@quarantine.command("list")
@facility_option
@limit_option
@json_option
@click.pass_obj
def list_(app: App, facility: str | None, limit: int, as_json: bool) -> None:
    """List what is in quarantine, the latest first."""
    from noctis.repository.quarantine_list import QuarantineFilter, page

    refresh(app)
    facility_id, slug = of_facility(app, facility)
    note_query(app, "query.quarantine", facility=slug, limit=limit)
    rows = page(app.engine(), QuarantineFilter(facility_id=facility_id), limit).rows
    if as_json:
        emit_json(rows)
        return
    show_table(
        ["facility", "received", "reason", "why", "from", "size#", "name"],
        [
            [
                row["facility"],
                moment(row["received_at"]),
                row["reason"],
                row["detail"],
                f"{row['calling_ae_title']} {row['peer_address']}",
                size(row["bytes"]),
                row["name"],
            ]
            for row in rows
        ],
        empty="The quarantine is empty.",
    )


@quarantine.command()
@click.argument("facility")
@click.argument("name")
@json_option
@click.pass_obj
def show(app: App, facility: str, name: str, as_json: bool) -> None:
    """Show one quarantined instance and where its file lies."""
    from noctis.repository.quarantine_list import one

    refresh(app)
    record = app.registry.get(facility)
    note_query(app, "query.quarantined", facility=record.slug, name=name)
    row = one(app.engine(), record.slug, name) | {"file": str(app.home.quarantine / record.slug / name)}
    if as_json:
        emit_json(row)
    else:
        show_fields(row | {"bytes": size(row["bytes"]), "received_at": moment(row["received_at"])})


@quarantine.command()
@click.argument("facility")
@click.argument("name")
@click.option("--replace", is_flag=True, help="Take the place of what is filed; that one is kept aside.")
@click.option("--into", metavar="FACILITY", help="File it in another facility: it came in at the wrong door.")
@click.option("--yes", is_flag=True, help="Do not ask about another facility.")
@json_option
@click.pass_obj
def release(app: App, facility: str, name: str, replace: bool, into: str | None, yes: bool, as_json: bool) -> None:
    """File a quarantined instance after all."""
    from noctis.repository.release import release as file_it

    record = app.registry.get(facility)
    other = app.registry.get(into) if into else None
    if other is not None and other.slug != record.slug and not yes:
        question = f"Take {plain(name)} out of '{plain(record.name)}' and into '{plain(other.name)}'?"
        click.confirm(question, abort=True, err=True)
    slug = other.slug if other else None
    released = file_it(app.settings, app.engine(), record.slug, name, replace=replace, into=slug, actor=app.actor)
    if as_json:
        emit_json({"outcome": str(released.outcome), "path": released.path})
    else:
        click.echo(f"{plain(name)}: {released.outcome} ({released.path})")


@quarantine.command()
@click.argument("facility")
@click.argument("name")
@click.option("--all", "everything", is_flag=True, help="Also the elements that are the same.")
@json_option
@click.pass_obj
def diff(app: App, facility: str, name: str, everything: bool, as_json: bool) -> None:
    """Compare a quarantined instance with what is filed under its SOP Instance UID, element by element."""
    from noctis.repository import quarantine_list
    from noctis.repository.comparison import compare

    refresh(app)
    record = app.registry.get(facility)
    note_query(app, "query.quarantined", facility=record.slug, name=name)
    row = quarantine_list.one(app.engine(), record.slug, name)
    path = quarantine_list.file_of(app.home.quarantine, row)
    filed = quarantine_list.filed_as(app.engine(), record.slug, row["sop_instance_uid"])
    if filed is None:
        raise NotFoundError(
            f"'{record.name}' has nothing filed under the SOP Instance UID of {name}",
            fix=f"noctis quarantine show {record.slug} {name}",
        )
    found = compare(app.home.media / filed["path"], path)
    shown = (
        sorted([*found.different, *found.same], key=lambda each: each.element.place) if everything else found.different
    )
    if as_json:
        emit_json(
            [
                {
                    "kind": str(each.kind),
                    "path": each.element.path,
                    "name": each.element.name,
                    "filed": each.left.text if each.left else None,
                    "quarantined": each.right.text if each.right else None,
                }
                for each in shown
            ]
        )
        return
    show_table(
        ["element", "name", "how", "filed", "in quarantine"],
        [
            [
                each.element.path,
                each.element.name,
                {"left only": "filed only", "right only": "quarantine only"}.get(each.kind, str(each.kind)),
                each.left.text if each.left else "",
                each.right.text if each.right else "",
            ]
            for each in shown
        ],
        empty="No element differs.",
    )
    for problem in found.problems:
        click.echo(f"noctis: {plain(problem)}", err=True)


@quarantine.command()
@click.argument("facility")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@click.pass_obj
def discard(app: App, facility: str, name: str, yes: bool, as_json: bool) -> None:
    """Throw a quarantined instance away for good."""
    from noctis.repository.release import discard as throw_away

    record = app.registry.get(facility)
    if not yes:
        click.confirm(f"Throw away {plain(name)} of '{plain(record.name)}' for good?", abort=True, err=True)
    throw_away(app.settings, app.engine(), record.slug, name, actor=app.actor)
    if as_json:
        emit_json({"facility": record.slug, "name": name, "discarded": True})
    else:
        click.echo(f"{plain(name)}: discarded")
