"""A bare ONNX file as a service: ``{input name: nested arrays}`` in, ``{output name: nested arrays}`` out.

onnxruntime and numpy are imported when a model is loaded. Inference runs in threads so that the event loop
stays free; small work on a small model runs on the loop, where going to a thread and back would take longer
than the inference itself. What is small is measured once, when the model is loaded.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import perf_counter, thread_time
from typing import TYPE_CHECKING, Any

import orjson

from serinus.contract import Contract
from serinus.errors import ContractError, ServiceError
from serinus.serving import cores
from serinus.serving.admission import Pool
from serinus.serving.answers import Problem

if TYPE_CHECKING:
    import onnxruntime

    from serinus.contract.onnx import Interface, Tensor
    from serinus.serving.tensors import Array

Run = Callable[[Sequence[str], Mapping[str, "Array"]], "list[Any]"]
"""The outputs of these names for these inputs."""

SMALL_BODY = 64 * 1024
"""Bytes; a larger body is decoded in a thread."""
LOOP_TIME = 200e-6
"""Seconds of inference that may be spent on the event loop."""
SHORT = 20e-3
"""Seconds. A model that takes longer for one request gets all cores for each; else an inference has one core,
and as many inferences as there are cores run beside each other, which answers more requests by a quarter."""
SURPRISES, CALM = 3, 100
"""Three inferences on the event loop that took ten times :data:`LOOP_TIME`, without a hundred in a row
between them that did not, send a model to the threads."""


class OnnxService:
    """Answers requests with an ONNX model. Made by :func:`load`; belongs to one event loop.

    Args:
        name: file name of the model, for messages.
        contract: what callers are promised.
        inputs: of the model.
        outputs: of the model: tensors, and what is made of sequences and maps.
        run: runs the model; called from several threads at once.
        threads: as many inferences run at once in threads.
        queue: as many may run or wait there; one more is a problem with status 503.
        small: work, as :func:`work` counts it, up to which inference runs on the event loop.
        clock: seconds.
        worked: seconds of processor time of this thread.
    """

    def __init__(
        self,
        name: str,
        contract: Contract,
        inputs: tuple[Tensor, ...],
        outputs: tuple[Tensor, ...],
        *,
        run: Run,
        threads: int,
        queue: int = 256,
        small: int = 0,
        clock: Callable[[], float] = perf_counter,
        worked: Callable[[], float] = thread_time,
    ) -> None:
        self.name = name
        self.contract = contract
        self.inputs = inputs
        self.outputs = outputs
        self._small = small
        self._doubt = self._surprises = 0
        self._clock = clock
        self._worked = worked
        self._names = tuple(tensor.name for tensor in outputs)
        self._run = run
        self._pool = Pool(threads, queue, "onnx")

    async def answer(self, body: bytes) -> bytes:
        """The JSON answer to a JSON request.

        Raises:
            Problem: 400 when the body is not JSON, 422 when it is not what the model takes.
            BrokenContract: the model gave a NaN or an infinity.
            Exception: the model failed on these inputs.
        """
        arrays = await self._pool.run(self._decode, body) if len(body) > SMALL_BODY else self._decode(body)
        answer: bytes = await self._inference(self._answer, arrays)
        return answer

    async def infer(self, arrays: Mapping[str, Array], names: Sequence[str] | None = None) -> dict[str, Any]:
        """The outputs, or those of some names, for inputs that fit the model; NaN is not looked for.

        Arrays and lists of them; an ONNX map is a dictionary. bfloat16 travels as float32.
        """
        wanted = self._names if names is None else names
        values = await self._inference(lambda arrays: self._run(wanted, arrays), arrays)
        return dict(zip(wanted, values, strict=True))

    async def offload(self, function: Callable[..., Any], *args: Any) -> Any:
        """Run a function in one of the model's threads.

        Raises:
            Problem: 503 when too many calls run or wait there.
        """
        return await self._pool.run(function, *args)

    async def _inference(
        self, function: Callable[[Mapping[str, Array]], Any], arrays: Mapping[str, Array]
    ) -> Any:
        """Run small work here, and everything else in a thread."""
        if not self._small or work(arrays) > self._small:
            return await self._pool.run(function, arrays)
        begin, worked = self._clock(), self._worked() if self._doubt else 0.0
        try:
            return function(arrays)
        finally:
            if self._clock() - begin > 10 * LOOP_TIME:
                self._surprised(worked)
            elif self._doubt:
                self._doubt -= 1

    def _surprised(self, worked: float) -> None:
        """An inference took long. Surprised again and again, the model goes to the threads.

        The time of one with loops depends on its values. But the core may have been somebody else's for a
        moment: so once there is doubt, processor time tells, which costs too much to look at always.
        """
        if not self._doubt:
            self._surprises = 0
        elif self._worked() - worked > 10 * LOOP_TIME:
            self._surprises += 1
            self._small = 0 if self._surprises == SURPRISES else self._small
        self._doubt = CALM

    def _decode(self, body: bytes) -> dict[str, Array]:
        from serinus.serving.tensors import decode

        try:
            document = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise Problem(400, f"the body is not JSON: {error}") from None
        return decode(self.inputs, document)

    def _answer(self, arrays: Mapping[str, Array]) -> bytes:
        from serinus.serving.tensors import encode

        return encode(dict(zip(self._names, self._run(self._names, arrays), strict=True)))


def work(arrays: Mapping[str, Array]) -> int:
    """How much there is to compute on: numbers, and characters of strings."""
    return sum(
        sum(map(len, array.flat)) if array.dtype.kind == "O" else array.size for array in arrays.values()
    )


def load(
    path: Path, *, contract: Contract | None = None, threads: int | None = None, queue: int = 256
) -> OnnxService:
    """Load an ONNX file.

    Args:
        path: the model; weights in external files are looked for beside it.
        contract: what callers are promised; by default what the graph says.
        threads: of one inference, and inferences at once; by default the cores that the container may use.
        queue: inferences that may run or wait in the threads.

    Raises:
        ServiceError: the file is missing, broken, too new, or has inputs that JSON cannot carry.
    """
    from serinus.contract.onnx import contract_of, interface

    threads = cores.available() if threads is None else threads
    try:
        graph = interface(path)
        _need_tensors(path, graph.inputs)
        contract = contract_of(graph, str(path)) if contract is None else contract
    except ContractError as error:
        raise ServiceError(error.message, error.todo) from error
    run = _runner(_session(path, 1), graph)
    seconds = measure(run, graph.inputs, tuple(value.name for value in graph.outputs))
    if threads > 1 and seconds > SHORT:
        run = _runner(_session(path, threads), graph)
    small = small_work(graph.inputs, seconds)
    return OnnxService(
        path.name, contract, graph.inputs, graph.outputs, run=run, threads=threads, queue=queue, small=small
    )


def small_work(inputs: Sequence[Tensor], seconds: float) -> int:
    """How much work (:func:`work`) a model does in :data:`LOOP_TIME` that took ``seconds`` for the sample."""
    return int(work(_samples(inputs)) * LOOP_TIME / seconds)


def measure(
    run: Run, inputs: Sequence[Tensor], outputs: Sequence[str], clock: Callable[[], float] = perf_counter
) -> float:
    """Warm the model up, and see how many seconds it takes for the smallest request.

    Free dimensions are 1, numbers 0, strings a short sentence; infinite for a model that does not take that.
    """
    arrays = _samples(inputs)
    times = []
    for _ in range(5):
        begin = clock()
        try:
            run(outputs, arrays)
        except Exception:  # noqa: BLE001 - the sample is ours, and says nothing about real requests
            return math.inf
        times.append(clock() - begin)
    # The first runs allocate and are slow; the fastest tells what the model takes.
    return max(min(times), 1e-6)


def _samples(inputs: Sequence[Tensor]) -> dict[str, Array]:
    return {tensor.name: _sample(tensor) for tensor in inputs}


def _sample(tensor: Tensor) -> Array:
    import numpy

    from serinus.serving.tensors import ELEMENTS

    shape = [d if isinstance(d, int) else 1 for d in tensor.shape or ()]
    if ELEMENTS[tensor.dtype].kind == "string":
        return numpy.full(shape, "the quick brown fox jumps over the lazy dog", "object")
    return numpy.zeros(shape, ELEMENTS[tensor.dtype].numpy)


def _need_tensors(path: Path, inputs: Sequence[Tensor]) -> None:
    """See that all inputs are tensors that JSON can carry."""
    from serinus.serving.tensors import ELEMENTS

    for value in inputs:
        if value.dtype not in ELEMENTS:
            raise ServiceError(
                f"{path}: input {value.name} is {value}, expected a tensor of {', '.join(ELEMENTS)}",
                "Change this input in the model, or serve the model by a Python function.",
            )


# ------------------------------------------------------------------------------------------------ runtime


def _session(path: Path, threads: int) -> onnxruntime.InferenceSession:
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Idle threads that spin take their cores from the requests beside them.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # What goes wrong comes as an exception; the runtime's own lines would stand among the JSON of the log.
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise _unloadable(path, str(error), onnxruntime.__version__) from error


_ADVICE = (
    (
        r"Unsupported model IR version: (\d+), max supported IR version: (\d+)",
        "its IR version is {0}, the runtime reads up to {1}",
        "Export the model with IR version {1} or lower, or require a newer onnxruntime.",
    ),
    (
        r"Opset (\d+) is under development.*for domain (\S+) is till opset (\d+)",
        "its opset is {0} of {1}, the runtime has up to {2}",
        "Export the model with opset {2} or lower, or require a newer onnxruntime.",
    ),
    (
        r'External data path does not exist: "([^"]*)"',
        "its weights lie in {0}, which is not there",
        "Put the file beside the model, under the name that it had when the model was saved.",
    ),
    (
        r"External initializer: (\S+) offset: \d+ size to read: (\d+) given file_length: (\d+)",
        "weight {0} needs {1} bytes of an external file that has {2}",
        "Copy the file again: it was cut off, or belongs to another model.",
    ),
    (
        r"No Op registered for (\S+) with domain_version of (\d+)",
        "it uses operator {0}, which opset {1} does not have",
        "Export the model with the opset that has this operator, or require a newer onnxruntime.",
    ),
    (
        r"Fatal error: (\S+)\(-?\d+\) is not a registered function/op",
        "it uses operator {0}, which the runtime does not have",
        "Serve the model by a Python function that registers its operator library.",
    ),
    (
        r"Protobuf parsing failed|No graph was found",
        "it is not a whole ONNX file",
        "Copy or export the file again: it was cut off, or is something else.",
    ),
)


def _unloadable(path: Path, message: str, version: str) -> ServiceError:
    """What the runtime says about a model that it does not load, in words that help."""
    for pattern, reason, todo in _ADVICE:
        if match := re.search(pattern, message):
            words = (reason.format(*match.groups()), todo.format(*match.groups()))
            return ServiceError(f"{path} cannot be loaded by onnxruntime {version}: {words[0]}", words[1])
    reason = message.rpartition(" failed:")[2].strip() or message
    return ServiceError(
        f"{path} cannot be loaded by onnxruntime {version}: {reason}",
        "Check the model with onnx.checker.check_model, and export it again.",
    )


def _runner(session: onnxruntime.InferenceSession, graph: Interface) -> Run:
    if any(value.dtype == "bfloat16" for value in (*graph.inputs, *graph.outputs)):
        from serinus.serving.bfloat16 import runner

        return runner(session, graph)

    def run(names: Sequence[str], arrays: Mapping[str, Array]) -> list[Any]:
        return list(session.run(names, arrays))

    return run
