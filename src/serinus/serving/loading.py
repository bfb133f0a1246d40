"""Loading: what the settings name becomes a service.

In two steps. :func:`find` imports the entry point, before the server listens: a name that is wrong ends the
start at once. What it returns loads the model, while the server already says that it is alive.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from serinus.contract import Contract
from serinus.contract.violations import compile as compile_schema
from serinus.errors import ContractError, ServiceError
from serinus.serving import Settings, cores
from serinus.serving.admission import Here, Pool
from serinus.serving.app import Opened, Router
from serinus.serving.choice import of_app, of_function
from serinus.serving.logs import log
from serinus.serving.metrics import Metrics
from serinus.serving.service import App, Service, predicting

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

CONTRACT_VARIABLE = "SERINUS_CONTRACT"
"""Path of a contract that responses are held to instead of the service's own: stable's, for a candidate."""
VERSION_VARIABLE = "SERINUS_VERSION"
"""What ``serinus-version`` says: the digest of the image."""

Loader = Callable[[], Awaitable[Service]]


@dataclass(frozen=True, slots=True)
class Parts:
    """What a service is made with."""

    threads: int
    """Cores that may be used."""
    observe_batch: Callable[[int], None]
    """Told the size of each batch."""
    ready: Callable[[], bool]
    """Whether the server may be sent requests."""
    busy: Callable[[], bool] = bool
    """Whether several requests are under way."""
    session: InferenceSession | None = None
    """Of a bare ONNX file, when the workers share it."""


def version_of(settings: Settings, environ: Mapping[str, str] = os.environ) -> str:
    """The value of ``serinus-version``: the image's digest, else one of the build, else ``dev``."""
    if given := environ.get(VERSION_VARIABLE):
        return given
    return f"build-{settings.build.rpartition(':')[2][:12]}" if settings.build else "dev"


def own_contract(settings: Settings) -> Contract | None:
    """The contract that the settings name; None when they name none.

    Raises:
        ServiceError: it cannot be read.
    """
    return _read(settings.contract) if settings.contract else None


def _read(path: str) -> Contract:
    from serinus.contract.files import read

    try:
        return read(path)
    except ContractError as error:
        raise ServiceError(error.message, error.todo) from error


def find(settings: Settings, parts: Parts) -> Loader:
    """Find what the settings name, and say how it is loaded.

    Raises:
        ServiceError: module, attribute, model or contract is not there, or not what it must be.
    """
    contract = own_contract(settings)
    if settings.entrypoint is None:
        return _onnx(settings, contract, parts)
    found = _import(settings.entrypoint)
    from serinus.contract.infer import kind_of

    try:
        kind = kind_of(found)
        if kind == "function":
            return _function(found, contract, settings, parts)
    except ContractError as error:
        raise ServiceError(error.message, error.todo) from error
    return _app(found, kind, contract, settings, parts)


def _import(entrypoint: str) -> Any:
    from serinus.contract.infer import load

    here = str(Path.cwd())
    if here not in sys.path and "" not in sys.path:
        sys.path.insert(0, here)
    try:
        return load(entrypoint)
    except ContractError as error:
        raise ServiceError(error.message, error.todo) from error
    except Exception as error:  # noqa: BLE001  (the user's code may raise anything)
        log.exception("importing %s raised %s", entrypoint.partition(":")[0], type(error).__name__)
        raise ServiceError(
            f"importing {entrypoint.partition(':')[0]} raised {type(error).__name__}: {error}",
            "Mend the module; the traceback is in the log.",
        ) from None


def _onnx(settings: Settings, contract: Contract | None, parts: Parts) -> Loader:
    if settings.model is None:
        raise ServiceError(
            f"the service {settings.name} has neither an entry point nor a model",
            "Set service.entrypoint to module:attribute, or model.path to an ONNX file.",
        )
    path = Path(settings.model)
    if not path.is_file():
        raise ServiceError(
            f"there is no model {path} in {Path.cwd()}", "Correct model.path, or add the file."
        )
    pool = Pool(1, 1, "load")

    def load() -> Service:
        from serinus.serving.oip import PREFIX, mount
        from serinus.serving.onnx import load

        import_module("onnxruntime")
        gc.freeze()  # as in serinus.serving.server
        service = load(
            path,
            contract=contract,
            threads=parts.threads,
            inference=settings.inference,
            at_once=settings.threads,
            queue=settings.queue,
            busy=parts.busy,
            observe=parts.observe_batch,
            session=parts.session,
        )
        version = version_of(settings)
        mounted = mount(service, settings.name, version, ready=parts.ready, limit=settings.max_body)
        return replace(predicting(service, ((PREFIX, mounted),)), choice=service.choice)

    async def load_on_a_thread() -> Service:
        service: Service = await pool.run(load)
        return service

    return load_on_a_thread


def _function(function: Any, contract: Contract | None, settings: Settings, parts: Parts) -> Loader:
    from serinus.contract.infer import signature
    from serinus.serving.function import FunctionService, caller, set_up, warm

    understood = signature(function)
    name = settings.entrypoint or function.__qualname__
    wanted = (settings.inference, settings.threads, parts.threads)
    choice = of_function(name, understood.asynchronous, *wanted)
    pool = Pool(choice.threads or parts.threads, settings.queue)

    async def load() -> Service:
        bound = await set_up(function, understood, pool)
        on = Here() if choice.inference == "loop" else pool
        call = caller(function, understood, on, parts.observe_batch, **bound)
        await warm(call, understood, contract.examples if contract else ())
        service = FunctionService(understood, call)
        return replace(predicting(service), choice=choice)

    return load


def _app(app: Any, kind: str, contract: Contract | None, settings: Settings, parts: Parts) -> Loader:
    from serinus.serving.wrapper import guarded

    choice = of_app("wsgi" if kind == "wsgi" else "asgi", settings.inference, settings.threads, parts.threads)

    async def load() -> Service:
        wrapped: App
        if kind == "wsgi":
            from serinus.serving.wsgi import WsgiApp

            wrapped = WsgiApp(app, Pool(choice.threads, settings.queue, "wsgi"), settings.max_body)
        else:
            from serinus.serving.asgi import AsgiApp

            wrapped = AsgiApp(app, settings.max_body)
        await wrapped.start()
        return replace(guarded(wrapped, contract, settings.route), choice=choice)

    return load


def opened(service: Service, settings: Settings, environ: Mapping[str, str] = os.environ) -> Opened:
    """What the router serves: the service, and what its responses are held to.

    That is the contract in the settings, or that of ``SERINUS_CONTRACT`` where it is set; the description of
    the API says the same. Examples and requests stay the service's own.

    Raises:
        ServiceError: a contract cannot be read or used.
    """
    from serinus.contract.description import document

    contract = own_contract(settings) or service.contract
    if given := environ.get(CONTRACT_VARIABLE):
        held = _read(given)
        contract = Contract(contract.request if contract else held.request, held.response)
    described = contract or Contract({}, {})
    try:
        check = compile_schema(contract.response) if contract else None
        api = document(
            described, title=settings.name, version=version_of(settings, environ), route=settings.route
        )
    except ContractError as error:
        raise ServiceError(error.message, error.todo) from error
    return Opened(service, check, orjson.dumps(api))


def available_parts(
    settings: Settings, router: Router, metrics: Metrics, session: InferenceSession | None = None
) -> Parts:
    """The parts for this machine: threads follow the usable cores, which the workers share."""
    threads = max(1, cores.available() // settings.workers)
    calls = 1 if settings.inference == "loop" else settings.threads or threads
    cores.apply(cores=threads, calls=calls)
    return Parts(threads, metrics.batch, lambda: router.ready, lambda: router.in_flight > 1, session)
