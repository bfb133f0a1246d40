"""``python -m serinus.serving [--settings FILE] [--host HOST] [--port PORT]``: serve until SIGTERM.

The file is ``service.json``, as ``serinus build`` writes it; by default the one that ``SERINUS_SETTINGS``
names, else ``/opt/serinus/service.json``. Exit codes: 0 stopped as asked, 1 stopped with requests cut off,
2 not started.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from serinus.errors import ServiceError
from serinus.serving import Settings, logs
from serinus.serving.server import HOST, Address, leave, refused, run

SETTINGS_VARIABLE = "SERINUS_SETTINGS"
DEFAULT = "/opt/serinus/service.json"


def read_settings(path: str) -> Settings:
    """Read the settings.

    Raises:
        ServiceError: the file cannot be read, or is not what it must be.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ServiceError(
            f"{path}: the service settings cannot be read: {error}",
            f"Name the file with --settings or {SETTINGS_VARIABLE}.",
        ) from None
    return Settings.from_json(text)


def main(arguments: Sequence[str]) -> int:
    """Serve; the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m serinus.serving",
        description="Serve until SIGTERM.",
        # Told its width, it need not load what finds out how wide the terminal is: 9 ms of every start.
        formatter_class=lambda prog: argparse.HelpFormatter(prog, width=100),
    )
    parser.add_argument("--settings", default=os.environ.get(SETTINGS_VARIABLE, DEFAULT), metavar="FILE")
    parser.add_argument("--host", default=HOST)
    parser.add_argument("--port", type=int, help="by default the one of the settings; 0 takes a free one")
    given = parser.parse_args(arguments)
    logs.configure()
    try:
        settings = read_settings(given.settings)
    except ServiceError as error:
        return refused(error)
    return run(settings, Address(given.host, settings.port if given.port is None else given.port))


if __name__ == "__main__":
    leave(main(sys.argv[1:]))
