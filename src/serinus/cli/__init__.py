"""The command line: parse, call, print, exit code. The only place that prints.

Each module beside this one holds the commands of one stage and is imported when one of them is called, since
the command line must start fast. Exit codes:

==== ==================================================================
0    done
1    the answer is no: a change breaks callers
2    it could not be done: wrong usage, or an error that names the cause
3    it waits for a person, and was told not to
70   a fault of Serinus itself, with its traceback
130  interrupted
==== ==================================================================
"""

from __future__ import annotations

import gc
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from itertools import pairwise

import click

from serinus import __version__
from serinus.cli.output import Output
from serinus.errors import SerinusError

DONE, NO, FAILED, WAITS, FAULT, INTERRUPTED = 0, 1, 2, 3, 70, 130

_COMMANDS = {
    "init": "start",
    "config": "start",
    "serve": "serve",
    "check": "check",
    "report": "report",
    "build": "build",
    "publish": "publish",
    "pull": "publish",
    "contract": "contract",
    "model": "model",
    "run": "pipeline",
    "runs": "pipeline",
    "approve": "pipeline",
    "graph": "pipeline",
    "watch": "watch",
    "up": "environment",
    "down": "environment",
    "deploy": "environment",
    "status": "environment",
    "promote": "environment",
    "abort": "environment",
    "pause": "environment",
    "resume": "environment",
    "undo": "environment",
    "history": "environment",
    "logs": "environment",
    "token": "environment",
    "deliver": "ci",
    "ci": "ci",
}
"""Command -> the module that defines a click command of that name, in the order in which help lists them."""


class _Commands(click.Group):
    """The commands, imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"serinus.cli.{_COMMANDS[cmd_name]}"), cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in _COMMANDS and not args[0].startswith("-"):
            from difflib import get_close_matches

            close = get_close_matches(args[0], _COMMANDS, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(_COMMANDS)}"
            raise click.UsageError(f"there is no command {args[0]!r}; {hint}", ctx)
        return super().resolve_command(ctx, args)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="serinus")
def serinus() -> None:
    """Take a model file and a predict function to a container in production."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave with its exit code."""
    # Most commands are over before there is garbage in cycles: looking for it costs a twentieth of a build.
    gc.disable()
    signal.signal(signal.SIGTERM, _interrupt)
    code = run(list(sys.argv[1:] if arguments is None else arguments))
    gc.freeze()
    sys.exit(code)


def _interrupt(number: int, frame: object) -> None:
    """SIGTERM is taken as Ctrl-C: what is under way cleans up behind itself."""
    raise KeyboardInterrupt


def run(arguments: list[str]) -> int:
    """Run one command.

    Args:
        arguments: what stands behind ``serinus``.

    Returns:
        The exit code.
    """
    output = Output(json=_as_json(arguments))
    try:
        result = serinus.main(arguments, prog_name="serinus", standalone_mode=False, obj=output)
    except click.ClickException as error:
        return _usage(error, output)
    except SerinusError as error:
        output.error(type(error).__name__, error.message, error.todo)
        return FAILED
    except (KeyboardInterrupt, click.Abort):
        output.error("Interrupted", "interrupted; nothing half done was left behind", "")
        return INTERRUPTED
    except BrokenPipeError:
        return _reader_went_away()
    except Exception as error:  # noqa: BLE001  the last resort: a fault of ours is shown whole
        import traceback

        traceback.print_exc()
        output.error(
            "Fault", f"{type(error).__name__}: {error}", "This is a fault of Serinus: please report it."
        )
        return FAULT
    finally:
        output.close()
    return result if isinstance(result, int) else DONE


def _as_json(arguments: list[str]) -> bool:
    """Whether standard output is to carry one JSON document, whatever happens."""
    pairs = pairwise(arguments)
    return "--json" in arguments or "--format=json" in arguments or ("--format", "json") in pairs


def _usage(error: click.ClickException, output: Output) -> int:
    context = getattr(error, "ctx", None)
    todo = f"Try `{context.command_path} --help`." if context else ""
    output.error("Usage", error.format_message(), todo)
    return FAILED


def _reader_went_away() -> int:
    """Standard output was closed by its reader (``| head``): end quietly, as a signal would have."""
    import os

    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 128 + 13
