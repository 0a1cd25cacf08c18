"""`noctis config`: what is set, and from where."""

import click

from noctis.cli.common import App, emit_json, json_option, plain
from noctis.config import find_config


@click.group()
def config() -> None:
    """Show the settings that are in force."""


@config.command()
@json_option
@click.pass_obj
def show(app: App, as_json: bool) -> None:
    """Show every setting: defaults, under the file, under NOCTIS_*, under options. Passwords are left out."""
    import yaml

    settings = app.settings.shown()
    path = find_config(app.config, app.home_option)
    if as_json:
        emit_json({"file": str(path) if path else None, "settings": settings})
        return
    click.echo(f"# file: {plain(path or 'none found')}")
    for line in yaml.safe_dump(settings, sort_keys=False, allow_unicode=True).splitlines():
        click.echo(plain(line))
