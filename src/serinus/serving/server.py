"""The server: Granian around the router, from the first listening socket to the last answer.

A process serves by itself, without a supervisor; with more workers than one, :mod:`serinus.serving.workers`
starts as many of the same. A start that fails leaves one clear line in the log and exit code 2.

Stopping (SIGTERM, SIGINT): the service says that it is not ready, and answers for a moment longer, each
answer with ``connection: close``, so that callers with open connections turn away by themselves instead of
running into a closed one. Then it stops accepting, finishes what is in flight, and exits with 0; with 1 when
that took longer than the grace period. Not one answer is lost on the way.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from serinus.errors import ServiceError
from serinus.serving import Settings, logs
from serinus.serving.app import Limits, Router
from serinus.serving.listeners import connected, turn_away
from serinus.serving.logs import log
from serinus.serving.metrics import Metrics
from serinus.serving.talkers import TALKERS

if TYPE_CHECKING:
    from granian.server.embed import Server
    from onnxruntime import InferenceSession

    from serinus.serving.loading import Loader
    from serinus.serving.workers import Worker

ACCESS_LOG_VARIABLE = "SERINUS_ACCESS_LOG"
"""``0`` switches the line for each request off; ``answers`` has it hold the answer, too."""
EXAMPLES_VARIABLE = "SERINUS_EXAMPLES"
"""``advisory``: answer predictions even if an example is answered wrongly; ``/readyz`` says so still."""
LEAD = 0.2
"""Seconds between saying that the service stops and turning new callers away."""
QUIET = 0.1
"""Seconds between turning new callers away and closing idle connections, at least: time for a request just
begun."""
PATIENT = 1.0
"""The same while there are connections, at most: each of them is closed by its next answer, and who has just
connected may be slow to ask. Only connections that are kept and not used last that long."""
LINGER = 5.0
"""Seconds that a connection without a request may still take, a half-sent request head or a slow reader."""
KEEP_ALIVE = 75
"""Seconds that an idle connection is kept: longer than by load balancers, so that they close first."""
HELD = 40
"""Objects known to the collector that one request of a bare model holds, as counted, or a few more."""
_BACKLOG = 1024
STARTED, STOPPED_LATE, NOT_STARTED = 0, 1, 2


HOST = "0.0.0.0"  # noqa: S104  (a container's own address is where its callers come)


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen. Port 0 takes a free one."""

    host: str = HOST
    port: int = 0


def claim(address: Address) -> Address:
    """The address with its port, made sure that nobody else listens there.

    Granian shares ports between workers, and would share one with a stranger without a word.

    Raises:
        ServiceError: the port is taken or not allowed, or there is no such host.
    """
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        # Bound and not listening: a caller who comes too early is refused, not accepted and cut off.
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((address.host, address.port))
            return Address(address.host, probe.getsockname()[1])
    except OSError as error:
        raise ServiceError(
            f"cannot listen on {address.host} port {address.port}: {(error.strerror or str(error)).lower()}",
            "End what listens there, or choose another port with service.port or --port.",
        ) from None


def run(settings: Settings, address: Address | None = None, environ: Mapping[str, str] = os.environ) -> int:
    """Serve until SIGTERM or SIGINT. Belongs on the main thread of a process of its own.

    The caller is to end the process with the code through :func:`leave`: threads that still run the service's
    code, or Granian's, cannot be ended otherwise.

    Args:
        settings: of the service; paths in it are relative to the working directory.
        address: where to listen; by default everywhere, on the port of the settings.
        environ: the environment variables that the documentation lists.

    Returns:
        The exit code: 0 stopped as asked, 1 requests were cut off at the end of the grace period or a worker
        died, 2 not started.
    """
    logs.configure()
    try:
        address = claim(address or Address(port=settings.port))
        if settings.workers > 1:
            from serinus.serving.sharing import shared_session
            from serinus.serving.workers import supervise

            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda number, frame: leave(STARTED))
            model = shared_session(settings)
            return supervise(
                settings.workers, lambda worker: serve(settings, address, environ, worker, model)
            )
        return serve(settings, address, environ)
    except ServiceError as error:
        return refused(error)


def refused(error: ServiceError) -> int:
    """Note a start that failed; its exit code."""
    log.critical(error.message, extra={"todo": error.todo} if error.todo else None)
    return NOT_STARTED


def leave(code: int) -> None:
    """End the process now, whatever its threads do, after :mod:`atexit` and with all output written."""
    import atexit
    import sys

    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    os._exit(code)


def serve(
    settings: Settings,
    address: Address,
    environ: Mapping[str, str] = os.environ,
    worker: Worker | None = None,
    session: InferenceSession | None = None,
) -> int:
    """Serve in this process alone; the exit code as of :func:`run`. ``session`` is shared by the workers."""
    from serinus.serving.loading import available_parts, find, version_of

    # Modules stay: each collection while the service is loaded would look through all of them again.
    gc.freeze()
    handler = logs.configure()
    version = version_of(settings, environ)
    metrics = Metrics({"name": settings.name, "version": version})
    wanted = environ.get(ACCESS_LOG_VARIABLE)
    access = None if wanted == "0" else logs.AccessLog(handler.write)
    limits = Limits(settings.max_body, settings.deadline, settings.queue)
    router = Router(settings.route, limits, version, metrics, access=access, answers=wanted == "answers")
    if worker is not None:
        router.gather = lambda: worker.gather(*router.state())
    try:
        loader = find(settings, available_parts(settings, router, metrics, session))
        # The loop is never closed: what still runs on it at the end is ended with the process.
        loop = _loop()
        asyncio.set_event_loop(loop)
        return loop.run_until_complete(_serve(router, loader, settings, address, environ, worker))
    except ServiceError as error:
        return refused(error)
    finally:
        if access is not None:
            access.flush()


def _loop() -> asyncio.AbstractEventLoop:
    """The faster of the event loops that are there: images have uvloop, which saves a sixth of a request."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


async def _serve(  # noqa: PLR0917
    router: Router,
    loader: Loader,
    settings: Settings,
    address: Address,
    environ: Mapping[str, str],
    worker: Worker | None,
) -> int:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    server = _granian(router, address)
    TALKERS.join()
    serving = loop.create_task(server.serve())
    opening = loop.create_task(open_service(router, loader, settings, environ))
    stopping = loop.create_task(stop.wait())
    telling = None if worker is None else await worker.listen(router.state)
    log.info("listening", extra={"host": address.host, "port": address.port, "pid": os.getpid()})
    await asyncio.wait({serving, opening, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if opening.done() and opening.exception() is None:
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    if serving.done():
        raise ServiceError(
            f"the HTTP server ended by itself: {serving.exception()!r}",
            "Look for its last words in the log above; the port may have been taken at this very moment.",
        )
    if opening.done() and (error := opening.exception()) is not None:
        raise error
    opening.cancel()
    ways = Ways(partial(turn_away, address.port), partial(connected, address.port), server.stop)
    code = await drain(router, ways, serving, settings.grace)
    await _stop(router)
    if telling is not None:
        telling.close()
    return code


def _granian(router: Router, address: Address) -> Server:
    from granian.constants import HTTPModes
    from granian.http import HTTP1Settings
    from granian.server.embed import Server

    server = Server(
        router,
        address=address.host,
        port=address.port,
        backlog=_BACKLOG,
        backpressure=_connections(),
        http=HTTPModes.http1,
        http1_settings=HTTP1Settings(header_read_timeout=KEEP_ALIVE * 1000),
        websockets=False,
        log_enabled=False,
    )
    logs.configure()
    return server


def _connections() -> int:
    """Connections to hold open at once: half of the files that the process may have."""
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(128, min(soft // 2, 8192))


async def open_service(
    router: Router, loader: Loader, settings: Settings, environ: Mapping[str, str] = os.environ
) -> None:
    """Load the service, answer its examples, and open the router when all went well.

    When an example is answered wrongly the router stays closed, and says why.

    Raises:
        ServiceError: the service cannot be loaded.
    """
    from serinus.serving.examples import rehearse
    from serinus.serving.loading import opened, own_contract

    begin = asyncio.get_running_loop().time()
    service = await loader()
    ready = opened(service, settings, environ)
    contract = own_contract(settings)
    try:
        router.reason = "the examples are being answered"
        fault = await rehearse(ready, contract.examples if contract else (), settings.route)
    except Exception as error:  # noqa: BLE001  (whatever the service raises, it is not ready)
        log.error("the service raised %s on an example", type(error).__name__, exc_info=error)
        fault = f"the service raised {type(error).__name__} on an example; the log has the traceback"
    if fault:
        router.refuse(f"not ready: {fault}")
        log.error("not ready: %s", fault)
        if environ.get(EXAMPLES_VARIABLE) == "advisory":
            router.open(ready)
        return
    # What was made so far stays; the collector need not look at it again with every request.
    gc.collect()
    gc.freeze()
    if settings.entrypoint is None:
        _collect_seldom(settings.queue)
    router.open(ready)
    told = service.choice.told() if service.choice else {}
    log.info("ready", extra={"seconds": round(asyncio.get_running_loop().time() - begin, 3), **told})


def _collect_seldom(queue: int) -> None:
    """Have the collector begin when more objects were made than all requests under way can hold.

    It begins when so many more were made than freed, 700 by default, and would look through the same requests
    again and again while there are many. A function's own garbage may be large, and is collected as ever.
    """
    young, *old = gc.get_threshold()
    gc.set_threshold(max(young, HELD * min(queue, _connections())), *old)


@dataclass(frozen=True, slots=True)
class Ways:
    """How a server is stopped, step by step."""

    close: Callable[[], Any]
    """Turns new callers away."""
    connected: Callable[[], int]
    """How many connections there are."""
    stop: Callable[[], Any]
    """Closes idle connections, and each other one after its answer."""


async def drain(router: Router, ways: Ways, serving: Awaitable[Any], grace: float) -> int:
    """Stop as the module's docstring says; the exit code.

    Args:
        router: is told, and knows what is in flight.
        ways: how the server is stopped.
        serving: done when all connections are closed.
        grace: seconds for all of it.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + grace
    log.info("stopping", extra={"in_flight": router.in_flight})
    router.drain()
    await asyncio.sleep(min(LEAD, grace / 4))
    ways.close()
    closed = loop.time()
    await asyncio.sleep(min(QUIET, grace / 4))
    while ways.connected() and loop.time() < closed + min(PATIENT, grace / 4):
        await asyncio.sleep(0.02)
    ways.stop()
    task = asyncio.ensure_future(serving)
    quiet = end
    while not task.done() and loop.time() < min(end, quiet):
        if router.in_flight:
            quiet = end
        elif quiet == end:
            quiet = loop.time() + LINGER
        await asyncio.wait({task}, timeout=0.02)
    if router.in_flight:
        log.error(
            "stopped with requests in flight: the grace period is over", extra={"in_flight": router.in_flight}
        )
        return STOPPED_LATE
    log.info("stopped")
    return STARTED


async def _stop(router: Router) -> None:
    if router.opened is None:
        return
    try:
        await asyncio.wait_for(router.opened.service.stop(), LINGER)
    except Exception:  # noqa: BLE001  (the user's code may raise anything)
        log.exception("the service failed to clean up")
