"""Serves the control API on loopback, by waitress: threads, as much of HTTP as is needed, nothing else."""

from __future__ import annotations

import errno
import socket
import threading
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any

from serinus.environment.api.answers import problem, refusal
from serinus.environment.api.requests import LARGEST, too_large
from serinus.environment.api.routes import WATCHERS, Api, Route
from serinus.environment.control import Control
from serinus.errors import ControlError

THREADS = WATCHERS + 8
_HEADER = 16 << 10  # bytes of all headers of a request
_CONNECTIONS = 200


class Server:
    """The control API at a port of loopback.

    The port is taken at once; answers come from :meth:`start` on.

    Args:
        control: answers.
        token: the token in force, see :class:`serinus.environment.api.token.Watched`.
        port: the port; 0 is any that is free.
        host: an address of loopback.
        more: routes beside those of an environment's own.

    Raises:
        ControlError: the port is taken, or waitress is not installed.
    """

    def __init__(
        self,
        control: Control,
        token: Callable[[], str | None],
        *,
        port: int,
        host: str = "127.0.0.1",
        more: Sequence[Route] = (),
    ) -> None:
        waitress = _waitress()
        self._control = control
        self._socket = _listen(host, port)
        self.port: int = self._socket.getsockname()[1]
        self.url = f"http://{host}:{self.port}"
        self._channels: dict[int, Any] = {}
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._server = waitress.server.create_server(
            Api(control, token, self.port, more),
            map=self._channels,
            sockets=[self._socket],
            threads=THREADS,
            ident="",
            max_request_body_size=LARGEST + 1,
            max_request_header_size=_HEADER,
            connection_limit=_CONNECTIONS,
            log_socket_errors=False,
            clear_untrusted_proxy_headers=True,
        )
        self._server.channel_class = _channel(waitress)

    def start(self) -> None:
        """Answer, in a thread."""
        self._thread = threading.Thread(target=self._run, name="control API", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Let those who wait go on, finish what is under way for some seconds, and take no more."""
        self._control.close()
        if self._stopped.is_set():
            return
        self._stopped.set()
        if self._thread is None:
            self._end()
            return
        self._server.pull_trigger()
        self._thread.join()

    def _run(self) -> None:
        loop = self._server.asyncore.loop
        while not self._stopped.is_set():
            loop(timeout=1.0, use_poll=True, map=self._channels, count=1)
        self._end()

    def _end(self) -> None:
        server = self._server
        server.accepting = False
        server.task_dispatcher.shutdown()
        for channel in list(self._channels.values()):
            if channel not in (server, server.trigger):
                channel.close()
        server.asyncore.dispatcher.close(server)
        if not server.task_dispatcher.threads:  # one that still runs will pull it
            server.trigger.close()


def _waitress() -> Any:
    try:
        import waitress.server  # type: ignore[import-untyped]
    except ImportError:
        raise ControlError(
            "the control API needs the package waitress, which is not installed",
            "Run `pip install 'serinus[environment]'`.",
        ) from None
    return waitress


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port))
    except OSError as error:
        taken = error.errno == errno.EADDRINUSE
        raise ControlError(
            f"port {port} of {host}, for the control API, "
            + ("is taken" if taken else f"cannot be had: {error.strerror or error}"),
            "Stop what listens there (another environment?), or set environment.control to another port.",
        ) from None


def _channel(waitress: Any) -> type:
    """What waitress itself refuses (a body that is too large, what is no HTTP) is told as a problem too."""

    class Problem(waitress.task.Task):  # type: ignore[misc]
        complete = True

        def execute(self) -> None:
            error = self.request.error
            if error.code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
                made = refusal(too_large())
            else:
                status = HTTPStatus(error.code)
                made = problem(status, str(error.body).strip(), kind="ControlError")
            self.status = made.line
            self.response_headers.extend(made.headers)
            self.set_close_on_finish()
            self.content_length = len(made.body)
            self.write(made.body)

    class Channel(waitress.channel.HTTPChannel):  # type: ignore[misc]
        error_task_class = Problem

    return Channel
