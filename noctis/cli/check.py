"""`noctis check`: is everything as it should be."""

import click

from noctis.cli.common import App, console, emit_json, json_option, safe
from noctis.errors import ConfigError, ExitCode


@click.command()
@click.option("--quiet", is_flag=True, help="Only what is wrong.")
@json_option
@click.pass_obj
def check(app: App, quiet: bool, as_json: bool) -> int:
    """Look at everything and name the fix for each thing that is wrong. Exit code 1 if anything is."""
    from noctis.checks.finding import Finding
    from noctis.checks.findings import run_checks

    findings = []
    try:
        settings = app.running_settings
        findings.append(Finding("config", True, "the configuration is valid"))
        findings += run_checks(settings)
    except ConfigError as error:
        text = " ".join(error.message.split())
        findings.append(Finding("config", False, text, error.fix or "mend it there; see: docs/configuration.md"))
    if as_json:
        emit_json([finding.as_json() for finding in findings])
    else:
        for finding in findings:
            if finding.well and not quiet:
                console().print(f"[green]ok[/green]     {safe(finding.text)}")
            elif not finding.well:
                console().print(f"[red]wrong[/red]  {safe(finding.text)}")
                console().print(f"       fix: {safe(finding.fix)}")
    return ExitCode.DONE if all(finding.well for finding in findings) else ExitCode.FOUND_WRONG
