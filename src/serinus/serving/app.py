"""The router: one RSGI application in front of a service of any kind.

Every answer has ``serinus-version`` and ``x-request-id``, is counted, and is held back until it is whole
and checked. Every error is a problem document (RFC 9457); what a service raised stands in the log alone,
under the id that the caller is told.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Any
from urllib.parse import quote

from serinus.contract.violations import BrokenContract, Check
from serinus.serving import RECORD, VERSION, VIOLATION, rsgi
from serinus.serving.admission import RETRY_AFTER, Admission, Deadlines
from serinus.serving.answers import JSON_FIELD, Answer, Due, Prediction, Problem
from serinus.serving.intake import Intake
from serinus.serving.kept import Kept
from serinus.serving.leaks import fault_id, sealed
from serinus.serving.logs import REQUEST_ID, Access, log
from serinus.serving.metrics import CONTENT_TYPE, Metrics
from serinus.serving.predictions import observed
from serinus.serving.responses import decoded
from serinus.serving.rsgi import Exchange, Headers, Scope
from serinus.serving.service import Mounted, Predict, Service

HEALTH, READY, METRICS, OPENAPI = "/healthz", "/readyz", "/metrics", "/openapi.json"
OTHER = "other"
"""The route under which everything is counted that is none of the server's own routes."""
_QUIET = frozenset((HEALTH, READY, METRICS))


@dataclass(frozen=True, slots=True)
class Opened:
    """A service that is ready for callers, and what its answers are held to."""

    service: Service
    response: Check | None
    """The compiled schema of a response; None checks nothing."""
    openapi: bytes
    """The API's description as JSON."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes in bytes, times in seconds."""

    max_body: int
    deadline: float
    queue: int


Handler = Callable[[Scope, Exchange, Headers], Awaitable[int]]
"""Answers one request with further header fields, and says with what status."""


class Router:
    """The RSGI application.

    Until :meth:`open` it says that it is alive and not ready; after :meth:`drain` that it is not ready any
    more, and asks each caller to close its connection.

    Args:
        route: path of the predictions.
        limits: how much, how long, how many.
        version: value of ``serinus-version``.
        metrics: where everything is counted.
        access: notes each request; None does not.
        answers: whether it is to note the answers to requests that ask for it (``serinus-record``), too.
    """

    def __init__(
        self,
        route: str,
        limits: Limits,
        version: str,
        metrics: Metrics,
        *,
        access: Access | None = None,
        answers: bool = False,
    ) -> None:
        self.route = route
        self.in_flight = 0
        self.gather: Callable[[], Awaitable[tuple[str, bool]]] = self._alone
        """The metrics of all workers as text, and whether all of them are ready."""
        self.reason = "the model is being loaded"
        self.opened: Opened | None = None
        self._limits = limits
        self._intake = Intake(limits.queue, limits.deadline)
        self._deadlines = Deadlines(limits.deadline)
        self._version = (VERSION, version)
        self._metrics = metrics
        self._access = access
        self._answers = answers and access is not None
        self._draining = False
        self._fit = True
        self._mounts: tuple[tuple[str, Mounted], ...] = ()
        self._predict: Predict | None = None
        self._check: Check | None = None
        self._own = False
        self._stream: Handler | None = None
        self._routes: dict[str, Callable[[Scope, Exchange], Awaitable[Answer]]] = {
            HEALTH: self._health,
            READY: self._readiness,
            METRICS: self._exposition,
            OPENAPI: self._description,
        }
        metrics.set_gauge("serinus_ready", "Whether the service is ready.", lambda: int(self.ready))
        metrics.set_gauge("serinus_in_flight", "Requests under way or waiting.", lambda: self._intake.inside)
        metrics.set_gauge("serinus_queue_limit", "Requests that may be under way.", lambda: self._intake.most)

    @property
    def ready(self) -> bool:
        """Whether predictions are answered and new callers are welcome."""
        return self.opened is not None and self._fit and not self._draining

    def refuse(self, reason: str) -> None:
        """Say for good that the service is not ready: an example was answered wrongly."""
        self.reason = reason
        self._fit = False

    def open(self, opened: Opened) -> None:
        """Answer predictions from now on."""
        self.opened = opened
        self._mounts = opened.service.mounts
        self._stream = opened.service.stream and self._pass
        self._predict, self._check = opened.service.predict, opened.response
        promised = opened.service.contract and opened.service.contract.response
        self._own = self._check is not None and self._check.schema == promised

    def drain(self) -> None:
        """Say that the service is not ready, and ask callers to close their connections; go on answering."""
        self._draining = True
        self.reason = "the service is stopping"

    async def __call__(self, scope: Scope, exchange: Exchange) -> None:
        """Answer one request."""
        begin = perf_counter()
        headers = scope.headers
        identity = rsgi.request_id(headers.get("x-request-id"))
        REQUEST_ID.set(identity)
        extra = [self._version, ("x-request-id", identity)]
        kept = None
        if self._answers and headers.get(RECORD) is not None:
            exchange = kept = Kept(exchange)
        path, label, status = scope.path, OTHER, 500
        self.in_flight += 1
        try:
            if path == self.route:
                label = path
                intake = self._intake
                if intake.inside >= intake.most and (refusal := intake.refuse()) is not None:
                    status = self._send(exchange, refusal, extra)
                elif self._predict is not None and scope.method == "POST":
                    await self._prediction(self._predict, headers, exchange, extra)
                    status = 200
                else:
                    status = await self._on_route(scope, exchange, extra)
            elif (handler := self._routes.get(path)) is not None:
                label = path
                status = self._send(exchange, await handler(scope, exchange), extra)
            else:
                label, status = await self._elsewhere(scope, exchange, extra)
        except Exception as error:  # noqa: BLE001  (this is the one place where errors become answers)
            status = self._send(exchange, self._refusal(error), extra)
        finally:
            self.in_flight -= 1
            seconds = perf_counter() - begin
            self._metrics.request(label, status, seconds)
            if self._access is not None and (label not in _QUIET or status >= 400):
                noted = (identity, scope.method, path if label is OTHER else label, status, seconds)
                if kept is None:
                    self._access(*noted)
                else:
                    self._access(*noted, kept.answer)

    def _send(self, exchange: Exchange, answer: Answer, extra: Headers) -> int:
        """Send a whole answer with further header fields; its status."""
        rsgi.send(exchange, answer, self._last(extra))
        return answer.status

    def _last(self, extra: Headers) -> Headers:
        """The fields at the moment of sending: while the service stops the caller is asked to disconnect."""
        return [*extra, rsgi.CLOSE] if self._draining else extra

    def _is_apps(self, scope: Scope) -> bool:
        """Whether a request on the route is none of ours: no prediction, or nothing to hold it to."""
        return scope.method != "POST" or self.opened is None or self.opened.service.contract is None

    async def _elsewhere(self, scope: Scope, exchange: Exchange, extra: Headers) -> tuple[str, int]:
        """A path that is none of the server's own: what is mounted, the app, or nothing."""
        if scope.headers.get("upgrade", "").lower() == "websocket":
            raise Problem(501, "WebSockets are not served")
        for prefix, mounted in self._mounts:
            if scope.path == prefix or scope.path.startswith(f"{prefix}/"):
                return prefix, self._send(exchange, await self._mounted(mounted, scope, exchange), extra)
        if self._stream is not None:
            return OTHER, await self._stream(scope, exchange, self._last(extra))
        if self.opened is None:
            raise self._not_ready()
        raise Problem(
            404, f"there is nothing at {scope.path[:200]}; predictions are answered at {self.route}"
        )

    async def _mounted(self, mounted: Mounted, scope: Scope, exchange: Exchange) -> Answer:
        headers = scope.headers
        method = "GET" if scope.method == "HEAD" else scope.method
        with Admission(self._intake, self._deadlines):
            body = await rsgi.body(headers, exchange, self._limits.max_body)
            answer = await mounted(method, scope.path, dict(headers.items()), body)
        for name, pointer in answer.headers:
            if name == VIOLATION:
                self._metrics.violation("response", pointer)
        return answer

    async def _pass(self, scope: Scope, exchange: Exchange, extra: Headers) -> int:
        if self.opened is None or self.opened.service.stream is None:
            raise self._not_ready()
        with Admission(self._intake, self._deadlines):
            return await self.opened.service.stream(scope, exchange, extra)

    async def _on_route(self, scope: Scope, exchange: Exchange, extra: Headers) -> int:
        """A request on the route that is no prediction of :attr:`Service.predict`; the status."""
        opened = self.opened
        if self._stream is not None and self._is_apps(scope):
            return await self._stream(scope, exchange, self._last(extra))
        if opened is None:
            raise self._not_ready()
        if scope.method != "POST":
            raise Problem(405, f"{scope.method} is not possible here; send POST", headers=[("allow", "POST")])
        headers = scope.headers
        with Admission(self._intake, self._deadlines):
            if opened.service.contract is not None:
                rsgi.require_json(headers)
            body = await rsgi.body(headers, exchange, self._limits.max_body)
            answer = await opened.service.answer(scope, body)
        if value := held(answer, opened.response):
            self._metrics.predictions(observed(value[0]))
        return self._send(exchange, sealed(answer), extra)

    async def _prediction(
        self, predict: Predict, headers: rsgi.ScopeHeaders, exchange: Exchange, extra: Headers
    ) -> None:
        """Answer one request by :attr:`Service.predict`.

        What :meth:`_on_route` does for apps, in as few steps as there can be.
        """
        with Admission(self._intake, self._deadlines):
            rsgi.require_json(headers)
            made = predict(await rsgi.body(headers, exchange, self._limits.max_body))
            if isinstance(made, Due):
                made.deliver = partial(self._deliver, exchange, extra)
                await made
                return
            if not isinstance(made, Prediction):
                made = await made
        self._deliver(exchange, extra, made)

    def _deliver(self, exchange: Exchange, extra: Headers, made: Prediction) -> None:
        """Hold a prediction to the contract, send it, and count its values.

        Raises:
            BrokenContract: with the pointer of every fault; nothing is sent.
        """
        body, values = made
        if values is None or not self._own:
            value = decoded(body)
            if self._check is not None:
                hold(value, body, self._check)
            values = observed(value)
        last = self._last(extra) if self._draining else extra
        exchange.response_bytes(200, [JSON_FIELD, *last], body)
        self._metrics.predictions(values)

    def _refusal(self, error: Exception) -> Answer:
        """The answer to a request that failed; what the caller must not see goes to the log."""
        if isinstance(error, Problem):
            if error.status == 422:
                for violation in error.violations:
                    self._metrics.violation("request", violation.pointer)
            return error.answer()
        identity = fault_id()
        if isinstance(error, BrokenContract):
            for violation in error.violations:
                self._metrics.violation("response", violation.pointer)
            faults = [f"{v.pointer or '#'}: {v.message}" for v in error.violations[:16]]
            log.error("a response broke the contract", extra={"id": identity, "violations": faults})
            pointer = error.violations[0].pointer
            detail = "the service's response breaks its contract, and was not sent"
            problem = Problem(500, detail, error.violations, [(VIOLATION, header_pointer(pointer))])
            return problem.answer(id=identity)
        log.error("the service raised %s", type(error).__name__, exc_info=error, extra={"id": identity})
        return Problem(500, "the service failed; its log has the reason under this id").answer(id=identity)

    def _not_ready(self) -> Problem:
        return Problem(503, self.reason, headers=[RETRY_AFTER])

    async def _health(self, scope: Scope, exchange: Exchange) -> Answer:
        _only_get(scope)
        return Answer(200, b'{"status":"alive"}')

    async def _readiness(self, scope: Scope, exchange: Exchange) -> Answer:
        _only_get(scope)
        if not self._fit and not self._draining:
            # Waiting does not help: no Retry-After, and a member by which programs know.
            return Problem(503, self.reason).answer(examples="failed")
        if not self.ready:
            raise self._not_ready()
        if not (await self.gather())[1]:
            raise Problem(503, "another worker is not ready yet", headers=[RETRY_AFTER])
        return Answer(200, b'{"status":"ready"}')

    async def _exposition(self, scope: Scope, exchange: Exchange) -> Answer:
        _only_get(scope)
        text, _ = await self.gather()
        return Answer(200, text.encode(), (("content-type", CONTENT_TYPE),))

    async def _description(self, scope: Scope, exchange: Exchange) -> Answer:
        _only_get(scope)
        if self.opened is None:
            raise self._not_ready()
        return Answer(200, self.opened.openapi)

    async def _alone(self) -> tuple[str, bool]:
        return self.state()

    def state(self) -> tuple[str, bool]:
        """The metrics of this process as text, and whether it is ready."""
        return self._metrics.text(), self.ready


def _only_get(scope: Scope) -> None:
    if scope.method not in ("GET", "HEAD"):
        raise Problem(405, f"{scope.method} is not possible here; send GET", headers=[("allow", "GET, HEAD")])


def held(answer: Answer, check: Check | None) -> tuple[Any] | None:
    """Hold a 2xx answer to the contract: its decoded body, or None when there is nothing to check.

    Raises:
        BrokenContract: with the pointer of every fault.
    """
    if check is None or not 200 <= answer.status < 300:
        return None
    value = decoded(answer.body)
    hold(value, answer.body, check)
    return (value,)


def hold(value: Any, text: bytes, check: Check) -> None:
    """Hold what was parsed from a response's text to the contract.

    Raises:
        BrokenContract: with the pointer of every fault.
    """
    if not check.ok_parsed(value, text):
        raise BrokenContract(check.violations(value))


def header_pointer(pointer: str) -> str:
    """A JSON Pointer as a header value: ``#`` is the whole document, all but ASCII is percent-encoded."""
    return quote(pointer[:256], safe="/~!#$&'()*+,;=:@?[]<>{}|^` ") if pointer else "#"
