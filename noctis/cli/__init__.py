"""The command `noctis`: one module per noun, loaded when it is called."""

import difflib
import importlib
import io
import os
import sys
from importlib.abc import MetaPathFinder
from typing import Any

import click

from noctis import __version__
from noctis.cli.common import App, log_to_stderr, report
from noctis.errors import ExitCode, NoctisError
from noctis.home import UMASK

COMMANDS = {
    "archive": "noctis.cli.archive:archive",
    "archiver": "noctis.cli.processes:archiver",
    "association": "noctis.cli.ledgers:association",
    "backup": "noctis.cli.backup:backup",
    "check": "noctis.cli.check:check",
    "config": "noctis.cli.config:config",
    "db": "noctis.cli.database:database",
    "device": "noctis.cli.device:device",
    "event": "noctis.cli.ledgers:event",
    "facility": "noctis.cli.facility:facility",
    "import": "noctis.cli.importing:import_",
    "instance": "noctis.cli.study:instance",
    "listen": "noctis.cli.processes:listen",
    "notification": "noctis.cli.notification:notification",
    "quarantine": "noctis.cli.quarantine:quarantine",
    "receipt": "noctis.cli.receipt:receipt",
    "refusal": "noctis.cli.ledgers:refusal",
    "reload": "noctis.cli.processes:reload",
    "restore": "noctis.cli.backup:restore",
    "series": "noctis.cli.study:series",
    "silence": "noctis.cli.silence:silence",
    "status": "noctis.cli.status:status",
    "study": "noctis.cli.study:study",
    "supervise": "noctis.cli.processes:supervise",
    "supervisorctl": "noctis.cli.processes:supervisorctl",
    "tls": "noctis.cli.tls:tls",
    "user": "noctis.cli.user:user",
    "version": "noctis.cli.version:version",
    "web": "noctis.cli.processes:web",
}


class LazyGroup(click.Group):
    """Imports a command's module when the command is wanted: `noctis --help` and `noctis status` start fast."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        place = COMMANDS.get(name)
        if place is None:
            return None
        module, _, attribute = place.partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            near = difflib.get_close_matches(args[0], COMMANDS, n=1)
            if near:
                raise click.UsageError(f"{error.message} Did you mean {near[0]!r}?", ctx) from None
            raise


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option("--config", type=click.Path(dir_okay=False), metavar="FILE", help="The configuration file.")
@click.option("--home", type=click.Path(file_okay=False), metavar="DIR", help="The home folder (NOCTIS_HOME).")
@click.option("--debug", is_flag=True, help="Log more, and show a traceback when something fails.")
@click.version_option(__version__, prog_name="noctis")
@click.pass_context
def cli(ctx: click.Context, config: str | None, home: str | None, debug: bool) -> None:
    """Noctis: the front door for DICOM images that arrive from many facilities."""
    ctx.obj = App(config=config, home=home, debug=debug)
    log_to_stderr(debug=debug)


class KeptOut(MetaPathFinder):
    """What pydicom loads wherever it is installed, and no command has a use for.

    It would cost 40 MB, a tenth of a second, and threads of OpenBLAS, which no process may have that forks. Frames are
    decoded by a program of its own, which has all of it.
    """

    NAMES = frozenset({"numpy", "PIL", "gdcm", "pylibjpeg", "requests"})

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name in self.NAMES:
            raise ModuleNotFoundError(f"{name} is kept out of this process", name=name)


def main(args: list[str] | None = None) -> None:
    """The entry point: runs the command and ends the process with an `ExitCode`."""
    os.umask(UMASK)
    sys.meta_path.insert(0, KeptOut())
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a name that the terminal's encoding lacks stops no list
    sys.exit(run(args))


def run(args: list[str] | None = None) -> int:
    """Run the command; its exit code. What goes wrong is told on stderr, as a message and not a traceback."""
    debug = "--debug" in (sys.argv[1:] if args is None else args)
    try:
        result: Any = cli.main(args, prog_name="noctis", standalone_mode=False)
        return result if isinstance(result, int) else ExitCode.DONE
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        error.show()
        return ExitCode.USAGE
    except (click.Abort, KeyboardInterrupt):
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.DONE
    except NoctisError as error:
        return report(error, debug=debug)
    except Exception as error:  # noqa: BLE001 - the last resort: an operator gets no traceback unless asked
        return report(error, debug=debug)
