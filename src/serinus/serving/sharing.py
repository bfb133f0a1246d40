"""Sharing: the model that several workers serve is loaded once, before they are forked.

A forked process shares the memory of the one that it comes from, page by page, until either writes
(``fork(2)``). Nobody writes to weights, also not to those that the runtime has rearranged for its kernels,
which no mapping of the model's file would share. So all workers together hold them once, and a worker that is
started again has them at once. Python's own objects are written to whenever they are looked at, but are small
beside a model; the collector is told to leave them alone.

A forked process has the thread that forked, and no other: what waits for one would wait forever. Therefore
only a bare ONNX file is loaded in this way, with an inference in one thread, and only shared when the process
has no second thread: a function's ``setup`` may start what it likes.
"""

from __future__ import annotations

import gc
import os
from collections.abc import MutableMapping
from pathlib import Path
from typing import TYPE_CHECKING

from serinus.serving import Settings, cores
from serinus.serving.helpers import threads
from serinus.serving.logs import log

if TYPE_CHECKING:
    import onnxruntime

_TELEMETRY = "ORT_DISABLE_TELEMETRY"
"""Images have it; without it onnxruntime starts a thread when it is imported."""


def shared_session(
    settings: Settings, environ: MutableMapping[str, str] = os.environ
) -> onnxruntime.InferenceSession | None:
    """The session of a bare ONNX file, for workers that are forked from now on; None when they load it.

    Raises:
        ServiceError: the runtime does not load the model.
    """
    if settings.entrypoint is not None or not settings.model or not Path(settings.model).is_file():
        return None
    # Before the runtime and numpy are imported: both would start threads.
    environ.setdefault(_TELEMETRY, "1")
    own = max(1, cores.available() // settings.workers)
    cores.apply(environ, own, calls=own)
    from serinus.serving.sessions import session_of, trim

    session = session_of(Path(settings.model), 1)
    if (count := len(threads())) != 1:
        log.warning("the model is not shared by the workers: the process has threads", extra={"count": count})
        return None
    trim()
    gc.collect()
    gc.freeze()
    return session
