"""The command line's reference, made from the commands themselves.

python -m noctis.cli.reference > docs/cli.md
"""

from collections.abc import Iterator

import click

from noctis.cli import cli

HEAD = """# Command line

Made from the code by `python -m noctis.cli.reference`; a test holds that it is up to date.

Exit codes: 0 done, 1 found wrong or could not be done, 2 the call itself is wrong, 70 a fault in Noctis.
"""


def commands(
    command: click.Command, name: str, parent: click.Context | None = None
) -> Iterator[tuple[str, click.Context]]:
    """Every command below `command`, with the full name it is called by."""
    context = click.Context(command, info_name=name.rpartition(" ")[2], parent=parent, **command.context_settings)
    yield name, context
    if isinstance(command, click.Group):
        for child in command.list_commands(context):
            found = command.get_command(context, child)
            if found is not None and not found.hidden:
                yield from commands(found, f"{name} {child}", context)


def render() -> str:
    """The whole page, as Markdown."""
    parts = [HEAD]
    for name, context in commands(cli, "noctis"):
        formatter = context.make_formatter()
        formatter.width = 100
        context.command.format_help(context, formatter)
        parts.append(f"## {name}\n\n```text\n{formatter.getvalue().rstrip()}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    click.echo(render(), nl=False)
