"""Doing one step: take its result from before, or run its command and keep what it made."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from serinus.pipeline import Step, Value
from serinus.pipeline.contents import Index, Missing, inputs
from serinus.pipeline.graph import Graph
from serinus.pipeline.guard import FOLDER
from serinus.pipeline.key import Parts, key_of, parts_of, why
from serinus.pipeline.moments import Began, Hint, Said, StepResult, Tell
from serinus.pipeline.plan import State
from serinus.pipeline.prepare import Prepared
from serinus.pipeline.process import GRACE, Exit, Group
from serinus.pipeline.record import Record, Result
from serinus.pipeline.secrets import Masker, Secrets, environment_for, scan
from serinus.pipeline.store import Damaged, Outputs, Store, document, from_document, remove, size_of
from serinus.pipeline.words import started_as

RUNS = Path(".serinus") / "runs"
"""Below the project's folder: a folder for each run, with logs and with what was set aside."""
LONGEST_PAUSE = 60.0
"""Seconds between two attempts at most; the pause doubles."""


@dataclass(frozen=True)
class Bench:
    """All that the steps of one run have in common."""

    root: Path
    run: str
    graph: Graph
    values: Mapping[str, Value] = field(hash=False)
    record: Record
    store: Store
    index: Index
    secrets: Secrets
    environment: Mapping[str, str] = field(hash=False)
    tell: Tell
    forced: frozenset[str] = frozenset()
    """Steps that are run even if nothing has changed."""
    grace: float = GRACE
    pause: float = 1.0
    """Seconds before the second attempt."""

    @property
    def pipeline(self) -> str:
        """The name of the pipeline."""
        return self.graph.pipeline.name

    @property
    def folder(self) -> Path:
        """The folder of the run."""
        return self.root / RUNS / self.run

    def log(self, step: str) -> Path:
        """The file that has what a step printed."""
        return log_of(self.root, self.run, step)


def bench_for(
    root: Path,
    run: str,
    prepared: Prepared,
    record: Record,
    *,
    environment: Mapping[str, str],
    tell: Tell,
) -> Bench:
    """What all steps of a run have in common.

    Args:
        root: the project's folder.
        run: its id; empty where nothing is run.
        prepared: the run.
        record: the project's.
        environment: variables of the steps.
        tell: is told what happens.
    """
    return Bench(
        root=root,
        run=run,
        graph=prepared.graph,
        values=prepared.values,
        record=record,
        store=Store(root, root / FOLDER / "store"),
        index=Index(record.files(), root / FOLDER),
        secrets=prepared.secrets,
        environment=environment,
        tell=tell,
        forced=prepared.forced,
    )


def log_of(root: Path, run: str, step: str) -> Path:
    """The file that has what a step of a run printed; there is none where it printed nothing."""
    return root / RUNS / run / "logs" / f"{step}.log"


def parts(bench: Bench, step: Step) -> Parts:
    """What the result of a step depends on, as the files are now.

    Raises:
        Missing: an input is not there.
        OSError: one cannot be read.
    """
    known = bench.graph.before([step.name]) if step.inputs else ()
    without: Collection[str] = (
        {
            output
            for other in bench.graph.pipeline.steps
            if other.name not in known
            for output in other.outputs
        }
        if step.inputs
        else ()
    )
    found = inputs(bench.root, step.inputs, bench.index, without)
    return parts_of(step, bench.values, found, locks(bench.root, bench.index, bench.graph.pipeline.locks))


def locks(root: Path, index: Index, names: Sequence[str]) -> dict[str, str]:
    """The lock files that are there by name, and the digest of each."""
    found = {}
    for name in names:
        with suppress(FileNotFoundError):
            found[name] = index.digest(root / name, (root / name).stat())
    return found


def usable(bench: Bench, step: Step, key: str) -> Result | None:
    """The result of before that stands for running a step, if there is one."""
    result = bench.record.result(bench.pipeline, step.name, key)
    if result is None or result.run == bench.run:
        return result
    return result if step.cache and step.name not in bench.forced else None


def do(bench: Bench, step: Step, group: Group) -> StepResult:
    """Do one step; what came of it is in the record.

    Args:
        bench: what all steps have in common.
        step: a step with a command.
        group: by which it can be ended meanwhile.

    Raises:
        PipelineError: the record cannot be written.
    """
    try:
        found = parts(bench, step)
        key = key_of(bench.pipeline, step.name, found)
        result = usable(bench, step, key)
        if result is not None and _taken(bench, step, from_document(result.outputs)):
            return _as_before(bench, step, key, result)
        return _make(bench, step, found, key, group)
    except (Missing, OSError) as error:
        return _over(bench, step, State.FAILED, 0.0, _told(error))


def _told(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error)
    return str(error)


def _as_before(bench: Bench, step: Step, key: str, result: Result) -> StepResult:
    reason = "done before" if result.run == bench.run else f"unchanged since {result.run}"
    bench.record.take(bench.run, bench.pipeline, step.name, key, reason)
    return StepResult(step.name, State.CACHED, 0.0, reason)


def _taken(bench: Bench, step: Step, outputs: Outputs) -> bool:
    """Put the outputs of before to their places; False where they are not kept any more."""
    missing = [name for name, held in outputs.items() if not bench.store.stands(name, held, bench.index)]
    if not missing:
        return True
    if not bench.store.has({name: outputs[name] for name in missing}):
        return False
    _clear(bench, missing)
    if other := bench.record.make(bench.run, step.name, missing):
        raise Missing(f"{', '.join(missing)}: {other} makes this now")
    try:
        for name in missing:
            bench.store.restore(name, outputs[name], bench.index)
    except Damaged:
        _remove(bench, missing)
        return False
    except OSError:
        _remove(bench, missing)
        raise
    return True


def _clear(bench: Bench, outputs: Collection[str]) -> None:
    """Make the places of outputs empty; whatever nobody has kept is set aside."""
    for name in outputs:
        if bench.store.clear(name, bench.index, bench.folder / "replaced"):
            where = (bench.folder / "replaced" / name).relative_to(bench.root)
            bench.tell(Hint(f"{name} was made or changed by somebody else: it is set aside as {where}"))


def _remove(bench: Bench, outputs: Collection[str]) -> None:
    for name in outputs:
        remove(bench.store.place(name))


def _make(bench: Bench, step: Step, found: Parts, key: str, group: Group) -> StepResult:
    """Run a step's command as often as it may be, and keep what it made."""
    last = bench.record.last_result(bench.pipeline, step.name)
    reason = "asked for" if step.name in bench.forced else "runs always" if not step.cache else ""
    reason = reason or why(last.parts if last else None, found.document())
    _clear(bench, step.outputs)
    began = time.monotonic()
    attempt = 0
    while True:
        attempt += 1
        if other := bench.record.make(bench.run, step.name, step.outputs, attempt):
            raise Missing(f"{', '.join(step.outputs)}: {other} makes this now")
        bench.tell(Began(step.name, attempt, reason))
        ended, outputs = _attempt(bench, step, found, group, attempt)
        seconds = time.monotonic() - began
        if outputs is not None and not group.stopped:
            result = None
            if not step.cache or _still(bench, step, key):
                told = found.document(), document(outputs), size_of(outputs)
                result = Result(key, *told, seconds, bench.run)
            return _over(bench, step, State.DONE, seconds, code=ended.code, attempts=attempt, result=result)
        _remove(bench, step.outputs)
        if group.stopped:
            return _over(
                bench, step, State.INTERRUPTED, seconds, "interrupted", code=ended.code, attempts=attempt
            )
        if attempt > step.retries:
            return _over(bench, step, State.FAILED, seconds, ended.reason, code=ended.code, attempts=attempt)
        _wait(bench.pause * 2 ** (attempt - 1), group)


def _still(bench: Bench, step: Step, key: str) -> bool:
    """Whether what a step depends on is what it was when it began: else nobody knows what gave its result."""
    with suppress(Missing, OSError):
        if key_of(bench.pipeline, step.name, parts(bench, step)) == key:
            return True
    bench.tell(Hint(f"what {step.name} reads was changed while it ran: it will be run again next time"))
    return False


def _wait(seconds: float, group: Group) -> None:
    until = time.monotonic() + min(LONGEST_PAUSE, seconds)
    while not group.stopped and (rest := until - time.monotonic()) > 0:
        time.sleep(min(0.1, rest))


def _attempt(
    bench: Bench, step: Step, found: Parts, group: Group, attempt: int
) -> tuple[Exit, Outputs | None]:
    """Run a step's command once: how it ended, and what it made if all was well."""
    if group.stopped:
        return Exit(0, "interrupted"), None
    ended = Exit(0)
    try:
        ended = _run(bench, step, found, group, attempt)
        if ended.reason:
            return ended, None
        for name in step.outputs:
            place = bench.store.place(name)
            if os.path.lexists(place) and (where := scan(place, bench.secrets.forms)):
                told = f"a secret stands in its output {name}: {where}; it was removed"
                return replace(ended, reason=told), None
        return ended, bench.store.save(step.outputs, bench.index) if step.outputs else {}
    except Missing as missing:
        return replace(ended, reason=f"it ended well, but {missing}"), None
    except OSError as error:
        return replace(ended, reason=_told(error)), None


def _run(bench: Bench, step: Step, found: Parts, group: Group, attempt: int) -> Exit:
    def hear(lines: tuple[str, ...]) -> None:
        bench.tell(Said(step.name, lines))

    log = Log(bench.log(step.name), Masker(bench.secrets.forms), hear)
    try:
        if attempt > 1:
            log.write(f"--- attempt {attempt}\n".encode())
        command, variables = started_as(found.command), environment(bench, step, found)
        ended = group.run(command, bench.root, variables, log.write, timeout=step.timeout, grace=bench.grace)
        if ended.reason:
            log.write(f"--- {ended.reason}\n".encode())
        return ended
    finally:
        log.close()


def environment(bench: Bench, step: Step, found: Parts) -> dict[str, str]:
    """The variables of a step's process."""
    mine = environment_for(step, bench.secrets, bench.environment)
    scripts = os.path.dirname(sys.executable)  # noqa: PTH120 - not resolved: that of the virtual environment
    shown = bench.graph.parameters(step.name) if bench.values else ()
    params = {name: value for name, value in bench.values.items() if name in shown}
    return {
        "PYTHONUNBUFFERED": "1",  # what it prints is seen when it is printed
        **mine,
        "PATH": os.pathsep.join([scripts, *filter(None, [mine.get("PATH", os.defpath)])]),
        **found.env,
        "SERINUS_PROJECT": str(bench.root),
        "SERINUS_RUN": bench.run,
        "SERINUS_PIPELINE": bench.pipeline,
        "SERINUS_STEP": step.name,
        "SERINUS_PARAMS": json.dumps(params),
    }


def _over(
    bench: Bench,
    step: Step,
    state: State,
    seconds: float,
    reason: str = "",
    *,
    code: int | None = None,
    attempts: int = 0,
    result: Result | None = None,
) -> StepResult:
    """A step is over, one way or another: record it."""
    bench.record.made(
        bench.run, bench.pipeline, step.name, state, reason=reason, code=code, seconds=seconds, result=result
    )
    return StepResult(step.name, state, seconds, reason, attempts, code)


class Log:
    """What a step prints, masked: into its file as it comes, to whoever listens in whole lines.

    Args:
        path: the file; made when something is printed.
        masker: takes secrets out.
        hear: is told lines.
    """

    def __init__(self, path: Path, masker: Masker, hear: Callable[[tuple[str, ...]], None]) -> None:
        self._path = path
        self._masker = masker
        self._hear = hear
        self._file: Any = None
        self._part = b""
        self._lock = threading.Lock()

    def write(self, data: bytes) -> None:
        """Take what was printed."""
        with self._lock:
            self._put(self._masker.feed(data))

    def close(self) -> None:
        """There is no more."""
        with self._lock:
            self._put(self._masker.end())
            if self._part:
                self._hear((_text(self._part),))
            self._part = b""
            if self._file is not None:
                self._file.close()
                self._file = None

    def _put(self, data: bytes) -> None:
        if not data:
            return
        if self._file is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("ab", buffering=0)
        self._file.write(data)
        *lines, self._part = (self._part + data).replace(b"\r", b"\n").split(b"\n")
        if lines := [line for line in lines if line.strip()]:
            self._hear(tuple(map(_text, lines)))


def _text(line: bytes) -> str:
    return line.decode("utf-8", "replace")
