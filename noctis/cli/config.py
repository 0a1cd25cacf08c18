"""`noctis config`: what is set, and from where."""

import click

from noctis.cli.common import App, console, emit_json, json_option, safe
from noctis.config import find_config


@click.group()
def config() -> None:
    """Show the settings that are in force."""


@config.command()
@json_option
@click.pass_obj
def show(app: App, as_json: bool) -> None:
    """Show every setting: defaults, under the file, under NOCTIS_*, under options. Passwords are left out."""
    from sqlalchemy import make_url

    settings = app.settings.model_dump(mode="json")
    if settings["database"]["url"]:
        settings["database"]["url"] = make_url(settings["database"]["url"]).render_as_string(hide_password=True)
    path = find_config(app.config)
    if as_json:
        emit_json({"file": str(path) if path else None, "settings": settings})
        return
    import yaml

    click.echo(f"# file: {path or 'none found'}")
    console().print(safe_yaml(yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)))


def safe_yaml(text: str) -> str:
    return "\n".join(safe(line) for line in text.splitlines())
