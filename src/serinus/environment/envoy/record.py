"""The record of attempts: what Envoy has written down, read bit by bit."""

from __future__ import annotations

from pathlib import Path

from serinus.environment.envoy.bootstrap import ATTEMPTS
from serinus.environment.envoy.files import Log
from serinus.environment.envoy.lines import attempt
from serinus.rollout import Attempt

_AT_ONCE = 16 << 20
"""Bytes that are read in one go, about 50,000 attempts."""


class Record:
    """The attempts of one router.

    Args:
        folder: the router's.
        bound: bytes after which a new file is begun.
        keep: older files that are kept.
    """

    def __init__(self, folder: Path, bound: int = 64 << 20, keep: int = 3) -> None:
        self.log = Log(folder, ATTEMPTS, bound, keep)
        self.malformed = 0
        """Lines that could not be read."""

    def attempts(self, since: str) -> tuple[tuple[Attempt, ...], str]:
        """The first attempts after a place, and the place behind them; at most some ten thousand at once."""
        lines, place = self.log.read(since, _AT_ONCE)
        found = []
        for line in lines:
            try:
                one = attempt(line)
            except ValueError:
                self.malformed += bool(line)  # an empty one is a mended end
                continue
            if one is not None:
                found.append(one)
        return tuple(found), place
