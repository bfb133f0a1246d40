"""Reload: the server in a child process, started anew whenever a file of the project changes.

A child that fails to start (a syntax error, a failing ``setup()``) has said why in its log; the next change
is tried again. Only ``serinus serve`` does this: watchfiles is not in an image.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Protocol

from serinus.serving import Settings
from serinus.serving.logs import log

Changes = Iterable[Sequence[str]]
"""Sets of changed files as they come; an empty one every now and then, so that the child can be looked at."""


class Child(Protocol):
    """A running server."""

    def poll(self) -> int | None:
        """The exit code, or None when it runs."""
        ...

    def terminate(self) -> None:
        """Ask it to stop."""
        ...

    def wait(self, timeout: float | None = None) -> int:
        """The exit code, once it has ended."""
        ...

    def kill(self) -> None:
        """End it."""
        ...


def follow(changes: Changes, start: Callable[[], Child], grace: float) -> int:
    """Run a child, and a new one after each change, until the changes end; the last one's exit code.

    Args:
        changes: files that changed.
        start: starts a child.
        grace: seconds that a child gets to stop.
    """
    child, told = start(), False
    for files in changes:
        if files:
            log.info("changed, starting again", extra={"files": sorted(files)[:8]})
            stop(child, grace)
            child, told = start(), False
        elif not told and child.poll() is not None:
            log.info("the server is not running; waiting for the next change")
            told = True
    return stop(child, grace)


def stop(child: Child, grace: float) -> int:
    """Stop a child, by force after ``grace`` seconds; its exit code."""
    if child.poll() is None:
        child.terminate()
    try:
        return child.wait(grace + 1.0)
    except subprocess.TimeoutExpired:
        child.kill()
        return child.wait()


def serve(settings: Settings, host: str, port: int, paths: Sequence[Path]) -> int:
    """Serve with reload until SIGTERM or SIGINT; the exit code.

    Args:
        settings: of the service.
        host: address to listen on.
        port: port to listen on.
        paths: files and folders to watch.
    """
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    with tempfile.TemporaryDirectory(prefix="serinus-") as folder:
        file = Path(folder, "service.json")
        file.write_text(settings.to_json(), encoding="utf-8")
        command = [sys.executable, "-m", "serinus.serving", "--settings", str(file)]
        command += ["--host", host, "--port", str(port)]
        return follow(_watched(paths, ended), lambda: subprocess.Popen(command), settings.grace)


def _watched(paths: Sequence[Path], ended: threading.Event) -> Changes:
    from watchfiles import DefaultFilter, watch

    found = watch(
        *paths,
        watch_filter=DefaultFilter(),
        stop_event=ended,
        debounce=200,
        rust_timeout=300,
        yield_on_timeout=True,
    )
    for changes in found:
        yield [path for _, path in changes]
