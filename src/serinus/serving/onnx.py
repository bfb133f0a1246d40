"""A bare ONNX file as a service: ``{input name: nested arrays}`` in, ``{output name: nested arrays}`` out.

onnxruntime and numpy are imported when a model is loaded. Inference runs in threads so that the event loop
stays free; small work on a small model runs on the loop, where going to a thread and back would take longer
than the inference itself. What is small is measured once, when the model is loaded.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from time import perf_counter, thread_time
from typing import TYPE_CHECKING, Any, TypeVar

import orjson

from serinus.contract import Contract
from serinus.errors import ContractError, ServiceError
from serinus.serving import cores
from serinus.serving.admission import Pool
from serinus.serving.answers import Prediction, Problem
from serinus.serving.choice import LOOP_TIME, Choice, of_model
from serinus.serving.logs import log
from serinus.serving.sessions import session_of, trim

if TYPE_CHECKING:
    import onnxruntime

    from serinus.contract.onnx import Interface, Tensor
    from serinus.serving import Inference
    from serinus.serving.tensors import Array

T = TypeVar("T")
Run = Callable[[Sequence[str], Mapping[str, "Array"]], "list[Any]"]
"""The outputs of these names for these inputs."""

SMALL_BODY = 64 * 1024
"""Bytes; a larger body is decoded in a thread."""
EVERYTHING = sys.maxsize
"""Work up to which inference runs on the event loop, where that was set by hand."""
SHORT = 20e-3
"""Seconds. A model that takes longer for one request gets all cores for each; else an inference has one core,
and as many inferences as there are cores run beside each other, which answers more requests by a quarter."""
ROWS = 32
"""Rows of a batch by which it is measured what one more takes; of one row most is not the model's time."""
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
        small: work (:func:`serinus.serving.reading.work`) up to which inference runs on the event loop.
        here: runs the model there, for all outputs, which its next call may overwrite; by default ``run``.
        busy: whether other requests are under way, with which this one may be answered together; None never
            does that.
        observe: told the size of each batch of such requests.
        choice: where inference runs, and why.
        promised: what the graph itself promises.
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
        here: Callable[[Mapping[str, Array]], Sequence[Any]] | None = None,
        busy: Callable[[], bool] | None = None,
        observe: Callable[[int], None] = lambda size: None,
        choice: Choice | None = None,
        promised: Contract | None = None,
        clock: Callable[[], float] = perf_counter,
        worked: Callable[[], float] = thread_time,
    ) -> None:
        from serinus.serving.reading import Reader, work
        from serinus.serving.turns import Turns
        from serinus.serving.writing import Writer

        self.name = name
        self.contract = contract
        self.inputs = inputs
        self.outputs = outputs
        self.choice = choice
        self._small = small or -1
        self._doubt = self._surprises = 0
        self._clock = clock
        self._worked = worked
        self._names = tuple(tensor.name for tensor in outputs)
        self._run = run
        self._run_here = here or partial(run, self._names)
        self._busy = busy
        self._write = Writer(outputs, contract == promised).write
        self._turns = Turns(partial(self._here, self._run_here), self._write, small, observe)
        self._pool = Pool(threads, queue, "onnx")
        self._read, self._work = Reader(inputs).read, work

    def predict(self, body: bytes) -> Prediction | Awaitable[Prediction]:
        """The JSON answer to a JSON request: of small work at once, of everything else in a while.

        Raises:
            Problem: 400 when the body is not JSON, 422 when it is not what the model takes.
            BrokenContract: the model gave a NaN or an infinity.
            Exception: the model failed on these inputs.
        """
        if len(body) > SMALL_BODY:
            return self._large(body)
        arrays, amount = self._decode(body)
        if amount <= self._small:
            if self._busy is not None and self._busy():
                return self._turns.submit(arrays, amount)
            return self._write(self._here(self._run_here, arrays))
        return self._pool.run(self._answer, arrays)

    async def _large(self, body: bytes) -> Prediction:
        arrays, amount = await self._pool.run(self._decode, body)
        if amount <= self._small:
            return self._write(self._here(self._run_here, arrays))
        answer: Prediction = await self._pool.run(self._answer, arrays)
        return answer

    async def infer(self, arrays: Mapping[str, Array], names: Sequence[str] | None = None) -> dict[str, Any]:
        """The outputs, or those of some names, for inputs that fit the model; NaN is not looked for.

        Arrays and lists of them; an ONNX map is a dictionary. bfloat16 travels as float32.
        """
        wanted = self._names if names is None else names
        if self._work(arrays) <= self._small:
            values = self._here(partial(self._run, wanted), arrays)
        else:
            values = await self._pool.run(self._run, wanted, arrays)
        return dict(zip(wanted, values, strict=True))

    async def offload(self, function: Callable[..., Any], *args: Any) -> Any:
        """Run a function in one of the model's threads.

        Raises:
            Problem: 503 when too many calls run or wait there.
        """
        return await self._pool.run(function, *args)

    def _here(self, function: Callable[[Mapping[str, Array]], T], arrays: Mapping[str, Array]) -> T:
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
        elif self._worked() - worked > 10 * LOOP_TIME and self._small < EVERYTHING:
            self._surprises += 1
            if self._surprises == SURPRISES:
                self._small = -1
                log.warning("inference goes to the threads: on the event loop it took long again and again")
        self._doubt = CALM

    def _decode(self, body: bytes) -> tuple[dict[str, Array], int]:
        try:
            document = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise Problem(400, f"the body is not JSON: {error}") from None
        return self._read(document)

    def _answer(self, arrays: Mapping[str, Array]) -> Prediction:
        return self._write(self._run(self._names, arrays))


def load(
    path: Path,
    *,
    contract: Contract | None = None,
    threads: int | None = None,
    inference: Inference = "auto",
    at_once: int | None = None,
    queue: int = 256,
    busy: Callable[[], bool] | None = None,
    observe: Callable[[int], None] = lambda size: None,
    session: onnxruntime.InferenceSession | None = None,
) -> OnnxService:
    """Load an ONNX file.

    Args:
        path: the model; weights in external files are looked for beside it.
        contract: what callers are promised; by default what the graph says.
        threads: of one long inference; by default the cores that the container may use.
        inference: where it runs; by default what is measured decides.
        at_once: inferences at once in threads; by default as many as ``threads``.
        queue: inferences that may run or wait in the threads.
        busy: whether other requests are under way. Without it, and of a model that does not treat each row by
            itself, no two are answered together.
        observe: told how many were.
        session: of this file, with one thread for an inference, when there is one that is shared; then an
            inference has no more, for that would need the weights once more.

    Raises:
        ServiceError: the file is missing, broken, too new, or has inputs that JSON cannot carry.
    """
    from serinus.contract.onnx import contract_of, interface
    from serinus.serving.binding import Bindings

    threads = cores.available() if threads is None else threads
    try:
        graph = interface(path)
        _need_tensors(path, graph.inputs)
        held = contract_of(graph, str(path)) if contract is None else contract
        promised = held if contract is None else _promised(graph)
    except ContractError as error:
        raise ServiceError(error.message, error.todo) from error
    names = tuple(value.name for value in graph.outputs)
    most = 1 if session is not None or inference == "loop" else threads
    session, run, seconds = _measured(path, graph, most, session)
    small, together = _small(run, graph, seconds, inference, busy is not None)
    here = Bindings(session, run, names) if small and not _has_bfloat16(graph) else None
    fit = small / max(1, small_work(graph.inputs, LOOP_TIME))
    choice = of_model(inference, seconds, fit, threads if at_once is None else at_once)
    return OnnxService(
        *(path.name, held, graph.inputs, graph.outputs),
        run=run,
        here=here,
        busy=busy if together else None,
        observe=observe,
        choice=choice,
        threads=choice.threads,
        queue=queue,
        small=small,
        promised=promised,
    )


def _measured(
    path: Path, graph: Interface, threads: int, session: onnxruntime.InferenceSession | None
) -> tuple[onnxruntime.InferenceSession, Run, float]:
    """A session, what runs it, and the seconds of the smallest request: with ``threads`` for a long one."""
    session = session or session_of(path, 1)
    run = _runner(session, graph)
    seconds = measure(run, graph.inputs, [value.name for value in graph.outputs])
    if threads > 1 and seconds > SHORT:
        del session, run  # not everywhere is there room for the weights of two
        session = session_of(path, threads)
        run = _runner(session, graph)
    trim()
    return session, run, seconds


def _small(
    run: Run, graph: Interface, seconds: float, inference: Inference, together: bool
) -> tuple[int, bool]:
    """Work up to which inference runs on the event loop, and whether requests are answered together there.

    Args:
        run: runs the model.
        graph: what it takes and gives.
        seconds: it took so long for the smallest request.
        inference: where it is to run.
        together: whether it may be asked for several requests at once.
    """
    from serinus.serving.rowwise import rowwise

    by_hand = {"loop": EVERYTHING, "threads": 0}
    small = by_hand.get(inference, small_work(graph.inputs, seconds))
    if not small or not together or not rowwise(run, graph.inputs, graph.outputs):
        return small, False
    if inference == "auto":
        names = tuple(value.name for value in graph.outputs)
        small = max(small, small_work(graph.inputs, measure(run, graph.inputs, names, ROWS), ROWS))
    return small, True


def _promised(graph: Interface) -> Contract | None:
    """What a graph promises; None when it has something of which JSON knows nothing."""
    from serinus.contract.onnx import contract_of

    try:
        return contract_of(graph)
    except ContractError:
        return None


def small_work(inputs: Sequence[Tensor], seconds: float, rows: int = 1) -> int:
    """How much work (:func:`serinus.serving.reading.work`) a model does in :data:`LOOP_TIME`.

    It took ``seconds`` for the sample of so many rows.
    """
    from serinus.serving.reading import work

    return int(work(_samples(inputs, rows)) * LOOP_TIME / seconds)


def measure(
    run: Run,
    inputs: Sequence[Tensor],
    outputs: Sequence[str],
    rows: int = 1,
    clock: Callable[[], float] = perf_counter,
) -> float:
    """Warm the model up, and see how many seconds it takes for the smallest request of so many rows.

    Free dimensions are 1, but for a first one, numbers 0, strings a short sentence; infinite for a model that
    does not take that.
    """
    arrays = _samples(inputs, rows)
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


def _samples(inputs: Sequence[Tensor], rows: int) -> dict[str, Array]:
    return {tensor.name: _sample(tensor, rows) for tensor in inputs}


def _sample(tensor: Tensor, rows: int) -> Array:
    import numpy

    from serinus.serving.tensors import ELEMENTS

    free = [rows, *[1] * len(tensor.shape or ())]
    shape = [d if isinstance(d, int) else free[at] for at, d in enumerate(tensor.shape or ())]
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


def _has_bfloat16(graph: Interface) -> bool:
    return any(value.dtype == "bfloat16" for value in (*graph.inputs, *graph.outputs))


def _runner(session: onnxruntime.InferenceSession, graph: Interface) -> Run:
    if _has_bfloat16(graph):
        from serinus.serving.bfloat16 import runner

        return runner(session, graph)

    def run(names: Sequence[str], arrays: Mapping[str, Array]) -> list[Any]:
        return list(session.run(names, arrays))

    return run
