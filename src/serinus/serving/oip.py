"""The Open Inference Protocol, version 2, over REST: routes, metadata, errors and compression.

After ``inference_rest.md`` of the protocol's specification, with two extensions of the Triton Inference
Server: binary tensor data and model configuration. There is one model, of one version.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import orjson

import serinus
from serinus.contract.violations import BrokenContract
from serinus.serving import VIOLATION
from serinus.serving.answers import JSON, Answer, Problem
from serinus.serving.app import header_pointer
from serinus.serving.leaks import fault_id
from serinus.serving.logs import log

if TYPE_CHECKING:
    from serinus.contract.onnx import Tensor

PREFIX = "/v2"
PLATFORM = "onnx_onnxv1"
"""The platform's name in the protocol: ``<framework>_<format><version>``."""
LARGE = 64 * 1024
"""Bytes; a larger body is read in a thread."""
_WORTH_COMPRESSING = 1024
_WINDOW_BITS = {"gzip": 31, "deflate": 15}
"""For zlib: the gzip container, and the zlib container, which HTTP calls deflate (RFC 9110, 8.4.1)."""


class TensorService(Protocol):
    """A model over tensors, such as :class:`serinus.serving.onnx.OnnxService`."""

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """What the model takes."""
        ...

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        """What the model gives; sequences and maps among it are not offered."""
        ...

    async def infer(self, arrays: Mapping[str, Any], names: Sequence[str] | None = None) -> dict[str, Any]:
        """The outputs of these names for inputs that fit the model."""
        ...

    async def offload(self, function: Callable[..., Any], *args: Any) -> Any:
        """Run a function where it does not hold up the event loop."""
        ...


@dataclass(frozen=True, slots=True)
class Model:
    """The model that the server has, as the protocol knows it."""

    service: TensorService
    name: str
    version: str
    limit: int = 16 << 20
    """Bytes of a request body when it is decompressed."""


Handler = Callable[[str, str, Mapping[str, str], bytes], Coroutine[Any, Any, Answer]]


def mount(
    service: TensorService,
    name: str,
    version: str,
    *,
    ready: Callable[[], bool] = lambda: True,
    limit: int = 16 << 20,
) -> Handler:
    """What answers the routes below :data:`PREFIX`.

    Args:
        service: the model.
        name: of the model, as it stands in the paths.
        version: of the model, its only one.
        ready: whether the server may be sent requests.
        limit: bytes of a request body when it is decompressed.
    """
    model = Model(service, name, version, limit)

    async def handler(method: str, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        return await handle(model, method, path, headers, body, ready=ready())

    return handler


async def handle(
    model: Model, method: str, path: str, headers: Mapping[str, str], body: bytes, *, ready: bool = True
) -> Answer:
    """Answer one request below :data:`PREFIX`.

    Every fault is answered as the protocol wants it, ``{"error": ...}``. An answer that must not be sent is a
    500 with the header ``serinus-violation`` as everywhere, and by that header the server counts it.

    Args:
        model: the only one of this server.
        method: of the request, in capitals.
        path: of the request, percent-decoded, without a query.
        headers: of the request, names in lower case.
        body: of the request, as it came.
        ready: whether the server may be sent requests.
    """
    try:
        allowed, answer = _route(model, path, ready)
        if method not in allowed:
            raise Problem(
                405, f"{path} takes {' and '.join(allowed)}", headers=[("allow", ", ".join(allowed))]
            )
        if answer is not None:
            return answer
        if not ready:
            raise Problem(503, f"model {model.name} is not ready", headers=[("retry-after", "1")])
        return await _infer(model, headers, body)
    except Problem as problem:
        return error(problem.status, problem.detail, problem.headers)
    except Exception as fault:  # noqa: BLE001 - all that is wrong is told in the protocol's form
        return _failed(model, fault)


def error(status: int, message: str, headers: Sequence[tuple[str, str]] = ()) -> Answer:
    """An error as the protocol has it."""
    return _json({"error": message}, status, headers)


def _failed(model: Model, fault: Exception) -> Answer:
    """The 500 for what the model raised or gave; what a caller must not see goes to the log, with an id."""
    identity = fault_id()
    if isinstance(fault, BrokenContract):
        faults = [f"{v.pointer or '#'}: {v.message}" for v in fault.violations[:16]]
        log.error("a response broke the contract", extra={"id": identity, "violations": faults})
        pointer = header_pointer(fault.violations[0].pointer)
        told = (
            f"the response of {model.name} breaks its contract {fault.message}; it was not sent ({identity})"
        )
        return error(500, told, [(VIOLATION, pointer)])
    log.error("the model raised %s", type(fault).__name__, exc_info=fault, extra={"id": identity})
    return error(500, f"{model.name} failed; the log has the reason under {identity}")


_GET = ("GET", "HEAD")


def _route(model: Model, path: str, ready: bool) -> tuple[tuple[str, ...], Answer | None]:
    """The methods that a path takes and what it answers; None is an inference.

    Raises:
        Problem: 404.
    """
    match path.removeprefix(PREFIX).strip("/").split("/"):
        case [""]:
            return _GET, _json(server_metadata())
        case ["health", "live"]:
            return _GET, _json({"live": True})
        case ["health", "ready"]:
            return _GET, _json({"ready": ready}, 200 if ready else 503)
        case ["models", name, *_] if name != model.name:
            raise Problem(404, f"there is no model {name[:100]!r}, only {model.name}")
        case ["models", _, "versions", version, *_] if version != model.version:
            raise Problem(404, f"{model.name} has no version {version[:100]!r}, only {model.version}")
        case ["models", _, "versions", _, *rest] | ["models", _, *rest]:
            return _model_route(model, "/".join(rest), ready)
    raise Problem(404, f"the protocol has no route {path[:200]}")


def _model_route(model: Model, rest: str, ready: bool) -> tuple[tuple[str, ...], Answer | None]:
    match rest:
        case "":
            return _GET, _json(model_metadata(model))
        case "ready":
            return _GET, _json({"name": model.name, "ready": ready}, 200 if ready else 503)
        case "config":
            return _GET, _json(model_configuration(model))
        case "infer":
            return ("POST",), None
    raise Problem(404, f"{model.name} has no route {rest[:200]}")


async def _infer(model: Model, headers: Mapping[str, str], body: bytes) -> Answer:
    from serinus.serving.oip_tensors import read, write

    service = model.service
    outputs = tensors_of(service.outputs)

    def understand() -> Any:
        plain = decompressed(body, headers.get("content-encoding"), model.limit)
        return read(service.inputs, outputs, headers, plain)

    compact = len(body) <= LARGE and "content-encoding" not in headers
    inference = understand() if compact else await service.offload(understand)
    values = await service.infer(inference.arrays, [wanted.name for wanted in inference.outputs])
    answer = write(outputs, inference, values, model.name, model.version)
    encoding = preferred(headers.get("accept-encoding", ""))
    if encoding is None or len(answer.body) < _WORTH_COMPRESSING:
        return answer
    packed = await service.offload(compressed, answer.body, encoding)
    extra = (("content-encoding", encoding), ("vary", "accept-encoding"))
    return Answer(answer.status, packed, (*answer.headers, *extra))


# ----------------------------------------------------------------------------------------------- metadata


def tensors_of(outputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The outputs that the protocol can carry; it has no sequences and no maps."""
    from serinus.serving.tensors import ELEMENTS

    return tuple(tensor for tensor in outputs if tensor.dtype in ELEMENTS)


def server_metadata() -> dict[str, Any]:
    """Name, version and extensions of this server."""
    return {
        "name": "serinus",
        "version": serinus.__version__,
        "extensions": ["binary_tensor_data", "model_configuration"],
    }


def model_metadata(model: Model) -> dict[str, Any]:
    """The model's name, platform, inputs and outputs; a dimension that is not fixed is -1."""
    from serinus.serving.tensors import ELEMENTS

    def describe(tensors: Sequence[Tensor]) -> list[dict[str, Any]]:
        return [{"name": t.name, "datatype": ELEMENTS[t.dtype].datatype, "shape": _dims(t)} for t in tensors]

    return {
        "name": model.name,
        "versions": [model.version],
        "platform": PLATFORM,
        "inputs": describe(model.service.inputs),
        "outputs": describe(tensors_of(model.service.outputs)),
    }


def model_configuration(model: Model) -> dict[str, Any]:
    """What Triton's clients ask for before they generate load: a ``ModelConfig`` that batches nothing."""
    from serinus.serving.tensors import ELEMENTS

    def describe(tensors: Sequence[Tensor]) -> list[dict[str, Any]]:
        types = {"BYTES": "STRING"}
        datatypes = [(t, ELEMENTS[t.dtype].datatype) for t in tensors]
        return [
            {"name": t.name, "data_type": f"TYPE_{types.get(d, d)}", "dims": _dims(t)} for t, d in datatypes
        ]

    return {
        "name": model.name,
        "platform": "onnxruntime_onnx",
        "backend": "onnxruntime",
        "max_batch_size": 0,
        "input": describe(model.service.inputs),
        "output": describe(tensors_of(model.service.outputs)),
    }


def _dims(tensor: Tensor) -> list[int]:
    return [d if isinstance(d, int) else -1 for d in tensor.shape or ()]


# -------------------------------------------------------------------------------------------- compression


def decompressed(body: bytes, encoding: str | None, limit: int) -> bytes:
    """The body without its content encoding (RFC 9110, 8.4), at most ``limit`` bytes of it.

    Raises:
        Problem: 415 for an unknown encoding, 413 above the limit, 400 when the data are broken.
    """
    if encoding is None or encoding.lower() == "identity":
        return body
    if encoding.lower() not in _WINDOW_BITS:
        raise Problem(
            415,
            f"the content encoding is {encoding[:40]!r}, expected one of {', '.join(_WINDOW_BITS)}",
            headers=[("accept-encoding", ", ".join(_WINDOW_BITS))],
        )
    unpack = zlib.decompressobj(_WINDOW_BITS[encoding.lower()])
    try:
        plain = unpack.decompress(body, limit + 1)
    except zlib.error as fault:
        raise Problem(400, f"the body is not {encoding}: {fault}") from None
    if len(plain) > limit:
        raise Problem(413, f"the decompressed body has more than the {limit} bytes that are allowed")
    if not unpack.eof or unpack.unused_data:
        raise Problem(
            400, f"the body is not {encoding}: it {'goes on after' if unpack.eof else 'ends before'} its end"
        )
    return plain


def compressed(body: bytes, encoding: str) -> bytes:
    """The body in a content encoding, compressed fast rather than well."""
    pack = zlib.compressobj(1, wbits=_WINDOW_BITS[encoding])
    return pack.compress(body) + pack.flush()


def preferred(accepted: str) -> str | None:
    """The encoding for an answer, by the request's ``Accept-Encoding`` (RFC 9110, 12.5.3); None is none."""
    best: tuple[float, str] | None = None
    for item in accepted.lower().split(","):
        token, _, parameter = (part.strip() for part in item.partition(";"))
        quality = _quality(parameter)
        encoding = "gzip" if token in {"*", "x-gzip"} else token
        if encoding in _WINDOW_BITS and quality > 0 and (best is None or quality > best[0]):
            best = (quality, encoding)
    return best[1] if best else None


def _quality(parameter: str) -> float:
    name, _, value = parameter.partition("=")
    try:
        return float(value) if name.strip() == "q" else 1.0
    except ValueError:
        return 0.0


def _json(document: dict[str, Any], status: int = 200, headers: Sequence[tuple[str, str]] = ()) -> Answer:
    return Answer(status, orjson.dumps(document), (("content-type", JSON), *headers))
