"""Runs, approvals and triggers over the control API: routes beside those of an environment's own.

A trigger is on disk before it is answered; a program of its own then works it off, so that nothing that a
pipeline does can harm the environment.
"""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from mimetypes import guess_type
from pathlib import Path

from serinus.environment.api.answers import Answer, Refused, answer, raw
from serinus.environment.api.requests import flag, text, whole
from serinus.environment.api.routes import Api, Asked, Route
from serinus.models import ids
from serinus.pipeline import approvals, history
from serinus.pipeline.known import pipeline_of
from serinus.pipeline.triggers import Ledger
from serinus.pipeline.watch import check
from serinus.project import Project

_MOST = 200
_LARGEST = 8 << 20
"""Bytes of a plot."""
_PATIENCE = 60.0
"""Seconds that the worker may take to end the processes of a run."""


@contextmanager
def served(project: Project, log: Path) -> Iterator[tuple[Route, ...]]:
    """The routes, and a worker for the triggers that come by them; it ends with the block.

    Args:
        project: the project.
        log: where the worker says what it does.
    """
    worker = Worker(project.root, log)
    ledger = Ledger(project.root)
    try:
        if ledger.pending() is not None:
            worker.wake()
        yield routes(project, ledger, worker.wake)
    finally:
        worker.close()
        ledger.close()


def routes(project: Project, ledger: Ledger, wake: Callable[[], None]) -> tuple[Route, ...]:
    """The routes.

    Args:
        project: whose runs these are.
        ledger: keeps the triggers.
        wake: is called when there is a new one.
    """
    runs, triggers = _Runs(project.root), _Triggers(project.root, ledger, wake)
    limit = {"limit": (whole(1, _MOST), 20)}
    step = "/v1/runs/{run}/steps/{step}"
    said = {"yes": (flag, ...), "who": (text, ...), "comment": (text, "")}
    return (
        Route("GET", "/v1/runs", runs.all, limit),
        Route("GET", "/v1/runs/{run}", runs.one),
        Route("GET", f"{step}/log", runs.log),
        Route("GET", f"{step}/files", runs.file, {"path": (text, ...)}),
        Route("POST", f"{step}/answer", runs.answer, said),
        Route("GET", "/v1/triggers", triggers.all, limit),
        Route("POST", "/v1/triggers", triggers.add, {"pipeline": (text, ...), "model": (text, ...)}),
    )


class _Runs:
    """What is answered about runs."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def all(self, api: Api, asked: Asked) -> Answer:
        found = history.runs(self._root, limit=asked.values["limit"])
        return answer({"runs": [history.run_json(row) for row in found]})

    def one(self, api: Api, asked: Asked) -> Answer:
        return answer(history.show(self._root, asked.parts["run"]).to_json())

    def log(self, api: Api, asked: Asked) -> Answer:
        run, step = asked.parts["run"], asked.parts["step"]
        said = history.log(self._root, run, step).decode("utf-8", "replace")
        return answer({"run": run, "step": step, "log": said})

    def file(self, api: Api, asked: Asked) -> Answer:
        path = asked.values["path"]
        _see_that_it_is_shown(self._root, asked.parts["run"], asked.parts["step"], path)
        return raw(_read(self._root / path), guess_type(path)[0] or "application/octet-stream")

    def answer(self, api: Api, asked: Asked) -> Answer:
        given, run, step = asked.values, asked.parts["run"], asked.parts["step"]
        told = {"yes": given["yes"], "who": given["who"], "comment": given["comment"]}
        done = approvals.approve(self._root, run, step, **told)
        return answer({"run": run, "step": step, "answer": done.answer, "who": done.who})


class _Triggers:
    """What is answered about triggers."""

    def __init__(self, root: Path, ledger: Ledger, wake: Callable[[], None]) -> None:
        self._root = root
        self._ledger = ledger
        self._wake = wake

    def all(self, api: Api, asked: Asked) -> Answer:
        return answer({"triggers": self._ledger.latest(asked.values["limit"])})

    def add(self, api: Api, asked: Asked) -> Answer:
        pipeline, model = asked.values["pipeline"], ids.parse(asked.values["model"])
        if not model.version:
            raise Refused(
                HTTPStatus.UNPROCESSABLE_ENTITY,
                f"the model {str(model)!r} names no version; expected NAME:VERSION",
                "Say which version was registered.",
            )
        check(pipeline_of(Project.load(self._root), pipeline))
        new = self._ledger.told(pipeline, str(model))
        self._wake()
        document = {"pipeline": pipeline, "model": str(model), "new": new}
        return answer(document, HTTPStatus.ACCEPTED if new else HTTPStatus.OK)


def _see_that_it_is_shown(root: Path, run: str, step: str, path: str) -> None:
    """Only what a person is to look at leaves the project's folder by this way."""
    questions = [one for one in history.show(root, run).questions if one.step == step]
    shown = {file["path"] for one in questions for file in one.evidence["files"]}
    if path not in shown or not (root / path).is_file():
        raise Refused(
            HTTPStatus.NOT_FOUND,
            f"{step} of {run} shows no file {path!r:.200}; it shows {', '.join(sorted(shown)) or 'none'}",
        )


def _read(file: Path) -> bytes:
    if file.stat().st_size > _LARGEST:
        raise Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"{file.name} is larger than {_LARGEST >> 20} MiB")
    return file.read_bytes()


class Worker:
    """A program that works off triggers, started when there are some.

    Args:
        root: the project's folder.
        log: where it says what it does.
    """

    def __init__(self, root: Path, log: Path) -> None:
        self._command = [sys.executable, "-m", "serinus", "watch", "--once", "-C", str(root)]
        self._log = log
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._again = False
        self._closed = False

    def wake(self) -> None:
        """See that somebody works; one that does looks once more before it ends."""
        with self._lock:
            if self._closed:
                return
            self._again = True
            if self._process is None:
                self._start()

    def close(self) -> None:
        """End it; the next one goes on with the run that it was at."""
        with self._lock:
            self._closed = True
            process = self._process
        if process is None:
            return
        process.terminate()
        try:
            process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _start(self) -> None:
        self._again = False
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )
        threading.Thread(target=self._reap, args=(self._process,), daemon=True).start()

    def _reap(self, process: subprocess.Popen[bytes]) -> None:
        process.wait()
        with self._lock:
            self._process = None
            if self._again and not self._closed:
                self._start()
