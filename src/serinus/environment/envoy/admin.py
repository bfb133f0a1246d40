"""Envoy's administration interface: what is in force, and what it has counted.

It listens on a socket in the router's folder alone, so whoever may read that folder may use it. The path of
such a socket has at most 108 bytes (``unix(7)``); the folder is opened and gone through, so its own may be
as long as it likes.
"""

from __future__ import annotations

import http.client
import os
import re
import socket
import struct
from pathlib import Path

from serinus.environment.envoy.bootstrap import ADMIN, PREFIX
from serinus.environment.envoy.names import ROUTES
from serinus.errors import RouterError

CLUSTERS = "cluster_manager.cds"
"""Statistics of the document of clusters."""
ROUTING = f"http.{PREFIX}.rds.{ROUTES}"
"""Of that of routes."""
_KEPT = r"(version_text|update_rejected|update_failure|warming_clusters)$"
_PATIENCE = 5.0


class Admin:
    """Asks the Envoy that runs in a folder.

    Args:
        folder: where it runs.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def ask(self, path: str, method: str = "GET") -> str:
        """One request.

        Raises:
            RouterError: Envoy does not answer, or refuses.
        """
        connection = _Connection(self._folder)
        try:
            connection.request(method, path)
            answer = connection.getresponse()
            text = answer.read().decode("utf-8", "replace")
        except (OSError, http.client.HTTPException) as error:
            raise RouterError(
                f"Envoy in {self._folder} does not answer: {error}", "Its log, envoy.log there, may say why."
            ) from error
        finally:
            connection.close()
        if answer.status != 200 and path != "/ready":
            raise RouterError(f"Envoy answered {answer.status} to {path}: {text.strip()[:200]}")
        return text

    def ready(self) -> bool:
        """Whether it serves."""
        try:
            return self.ask("/ready").strip() == "LIVE"
        except RouterError:
            return False

    def states(self) -> dict[str, str]:
        """Versions of the documents in force, and how many were refused, by the names of the statistics."""
        return self.statistics(_KEPT)

    def statistics(self, pattern: str) -> dict[str, str]:
        """Counters, gauges and texts whose names match."""
        lines = self.ask(f"/stats?filter={pattern}").splitlines()
        pairs = (line.partition(": ") for line in lines)
        return {name: value.strip('"') for name, found, value in pairs if found}

    def generation(self) -> int | None:
        """The generation of the routing in force; None when Envoy does not answer, or has none."""
        try:
            version = self.statistics(rf"^{re.escape(ROUTING)}\.version_text$").get(
                f"{ROUTING}.version_text", ""
            )
        except RouterError:
            return None
        generation, found, _ = version.partition(".")
        return int(generation) if found and generation.removeprefix("-").isdecimal() else None

    def active(self) -> int:
        """Requests that are under way."""
        return self._gauge("downstream_rq_active")

    def connections(self) -> int:
        """Connections of callers."""
        return self._gauge("downstream_cx_active")

    def _gauge(self, name: str) -> int:
        name = f"http.{PREFIX}.{name}"
        return int(self.statistics(f"^{re.escape(name)}$").get(name, "0"))

    def process(self) -> int:
        """The process that listens (``unix(7)``, SO_PEERCRED); 0 when none does."""
        try:
            with _connected(self._folder) as sock:
                told = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        except OSError:
            return 0
        return int(struct.unpack("3i", told)[0])


class _Connection(http.client.HTTPConnection):
    def __init__(self, folder: Path) -> None:
        super().__init__("localhost", timeout=_PATIENCE)
        self._folder = folder

    def connect(self) -> None:
        self.sock = _connected(self._folder)


def _connected(folder: Path) -> socket.socket:
    opened = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(_PATIENCE)
        try:
            sock.connect(f"/proc/self/fd/{opened}/{ADMIN}")
        except BaseException:
            sock.close()
            raise
        return sock
    finally:
        os.close(opened)
