"""`noctis study`, `series`, `instance`: looking at the index."""

from typing import Any

import click

from noctis.cli.common import App, emit_json, json_option, show_fields, show_table
from noctis.cli.events import note_query
from noctis.text import moment, size


def facility_option(function: Any) -> Any:
    return click.option("--facility", metavar="NAME", help="Of this facility alone.")(function)


def limit_option(function: Any) -> Any:
    return click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="At the most so many.")(
        function
    )


def of_facility(app: App, name: str | None) -> tuple[int | None, str | None]:
    """Id and slug of the facility that was named, if one was."""
    if not name:
        return None, None
    record = app.registry.get(name)
    return record.id, record.slug


@click.group()
def study() -> None:
    """List and show studies."""


@study.command("list")
@facility_option
@click.option("--patient", metavar="TEXT", help="Part of the patient's ID or name.")
@click.option("--accession", metavar="TEXT", help="The accession number.")
@click.option("--date", metavar="YYYYMMDD[-YYYYMMDD]", help="The study date, or a range of it.")
@click.option("--modality", metavar="CS", help="For example CT.")
@click.option("--status", type=click.Choice(["receiving", "complete"]))
@limit_option
@json_option
@click.pass_obj
def list_studies(app: App, /, facility: str | None, limit: int, as_json: bool, **filters: str | None) -> None:
    """List studies, the newest first: by when the first instance came."""
    from noctis.repository.queries import StudyFilter, studies

    facility_id, slug = of_facility(app, facility)
    note_query(app, "query.studies", facility=slug, limit=limit, **filters)
    rows = studies(app.engine(), StudyFilter(facility_id=facility_id, **filters), limit)
    if as_json:
        emit_json(rows)
        return
    show_table(
        [
            "facility",
            "patient ID",
            "patient",
            "date",
            "description",
            "modality",
            "series#",
            "instances#",
            "status",
            "received",
        ],
        [
            [
                row["facility"],
                row["patient_id"],
                row["patient_name"],
                row["study_date"],
                row["study_description"],
                row["modalities"],
                row["series"],
                row["instances"],
                row["status"] + (f" (+{row['late_instances']} late)" if row["late_instances"] else ""),
                moment(row["last_received"]),
            ]
            for row in rows
        ],
        empty="No study.",
    )


@study.command("show")
@click.argument("study_uid", metavar="STUDY_INSTANCE_UID")
@facility_option
@json_option
@click.pass_obj
def show_study(app: App, study_uid: str, facility: str | None, as_json: bool) -> None:
    """Show one study and its series."""
    from noctis.repository.queries import one_study, series_of

    facility_id, slug = of_facility(app, facility)
    note_query(app, "query.study", facility=slug, study_instance_uid=study_uid)
    row = one_study(app.engine(), study_uid, facility_id)
    parts = series_of(app.engine(), study_uid=study_uid, facility_id=row["facility_id"])
    if as_json:
        emit_json(row | {"series_list": parts})
        return
    show_fields(row | {"bytes": size(row["bytes"]), "last_received": moment(row["last_received"])})
    show_series(parts)


@click.group()
def series() -> None:
    """List series."""


@series.command("list")
@click.argument("study_uid", metavar="STUDY_INSTANCE_UID")
@facility_option
@json_option
@click.pass_obj
def list_series(app: App, study_uid: str, facility: str | None, as_json: bool) -> None:
    """List the series of a study."""
    from noctis.repository.queries import series_of

    facility_id, slug = of_facility(app, facility)
    note_query(app, "query.series", facility=slug, study_instance_uid=study_uid)
    rows = series_of(app.engine(), study_uid=study_uid, facility_id=facility_id)
    if as_json:
        emit_json(rows)
    else:
        show_series(rows)


def show_series(rows: list[dict[str, Any]]) -> None:
    show_table(
        ["number#", "modality", "description", "body part", "instances#", "size#", "Series Instance UID"],
        [
            [
                row["series_number"],
                row["modality"],
                row["series_description"],
                row["body_part_examined"],
                row["instances"],
                size(row["bytes"]),
                row["series_instance_uid"],
            ]
            for row in rows
        ],
        empty="No series.",
    )


@click.group()
def instance() -> None:
    """List instances."""


@instance.command("list")
@click.option("--study", "study_uid", metavar="UID", help="Of this study.")
@click.option("--series", "series_uid", metavar="UID", help="Of this series.")
@facility_option
@limit_option
@json_option
@click.pass_obj
def list_instances(
    app: App, study_uid: str | None, series_uid: str | None, facility: str | None, limit: int, as_json: bool
) -> None:
    """List instances and where their files lie, the latest first."""
    from noctis.repository.queries import instances

    facility_id, slug = of_facility(app, facility)
    note_query(
        app,
        "query.instances",
        facility=slug,
        study_instance_uid=study_uid,
        series_instance_uid=series_uid,
        limit=limit,
    )
    rows = instances(app.engine(), limit, facility_id=facility_id, study_uid=study_uid, series_uid=series_uid)
    if as_json:
        emit_json(rows)
        return
    show_table(
        ["facility", "number#", "size#", "received", "from", "flags", "file"],
        [
            [
                row["facility"],
                row["instance_number"],
                size(row["bytes"]),
                moment(row["received_at"]),
                f"{row['calling_ae_title']} {row['peer_address']}",
                row["flags"],
                row["path"],
            ]
            for row in rows
        ],
        empty="No instance.",
    )
