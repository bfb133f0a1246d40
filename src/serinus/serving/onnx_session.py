"""An ONNX model inside a function: a call that is alone has all cores, of several calls each has one.

For throughput an inference on each core is best: an encoder answers a quarter to a half more that way than
with all cores for each. But then a call that is alone leaves the other cores unused, and takes longer: a
quarter with two cores, more with many. How many threads it has belongs to a session of ONNX Runtime, and is
the same for all of its calls. So there are two sessions.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serinus.serving import cores as machine
from serinus.serving.helpers import Helpers, started
from serinus.serving.sessions import opened

if TYPE_CHECKING:
    import onnxruntime

LARGE = 64 * 1024 * 1024
"""Bytes of a file with weights that are not held twice."""
CALM = 16
"""Calls in a row that must have been alone before the next one has all cores: a caller who asks one by one.
With 2 the p99 of RoBERTa was a tenth longer at half of its load, where calls meet now and then."""
PATIENT = 10e-3
"""Seconds for which a call waits for one that has all cores. That is worth it when both are short; when one
is long, a short one need not take as long."""


class OnnxSession:
    """Runs a model, from several threads at once.

    Args:
        path: an ONNX file.
        cores: to use; by default those that the service may use.

    A model of :data:`LARGE` bytes or more has one session, with all cores for each call: its calls take long.

    Raises:
        Exception: ONNX Runtime cannot load the file.
    """

    def __init__(self, path: str | Path, cores: int | None = None) -> None:
        self.cores = cores or int(os.environ.get(machine.CORES_VARIABLE) or machine.available())
        large = Path(path).stat().st_size >= LARGE
        import onnxruntime  # noqa: F401  (starts threads, which are not the session's)

        with started(self.cores - 1) as found:
            self._alone = session(path, self.cores)
        self._helpers = Helpers(found)
        self._beside = self._alone if large or self.cores == 1 else session(path, 1)
        self._changed = threading.Condition()
        self._turn = Turn()

    @property
    def under_way(self) -> int:
        """Calls that run or wait for another one."""
        return self._turn.under_way

    def run(self, outputs: Sequence[str] | None, inputs: Mapping[str, Any]) -> list[Any]:
        """The outputs of these names, or all, for these inputs: as ``onnxruntime.InferenceSession.run``.

        Raises:
            Exception: the model failed on these inputs.
        """
        with self._changed:
            alone = self._turn.begin()
        try:
            if alone:
                self._helpers.spread()
            elif self._beside is not self._alone:
                with self._changed:
                    self._changed.wait_for(self._turn.is_shared, PATIENT)
            values: list[Any] = (self._alone if alone else self._beside).run(outputs, inputs)
            return values
        finally:
            with self._changed:
                self._turn.end(alone)
                if alone:
                    self._changed.notify_all()


class Turn:
    """Who has all cores: a call that begins when no other is under way, and in a time when none met another.

    When calls meet, one that begins in the gap between two of them will not be alone for long. One that
    begins while another has all cores is to wait until that has ended, within reason: beside it, both would
    take longer, for the threads of a call wait for each other again and again.
    """

    def __init__(self) -> None:
        self.under_way = 0
        """Calls that have begun, also those that wait."""
        self._alone = CALM
        """Calls in a row that were alone from their beginning to their end."""
        self._whole = False

    def is_shared(self) -> bool:
        """Whether no call has all cores."""
        return not self._whole

    def begin(self) -> bool:
        """A call begins; whether it has all cores."""
        self.under_way += 1
        if self.under_way > 1:
            self._alone = -1  # the first that ends now was not alone
            return False
        self._whole = self._alone >= CALM
        return self._whole

    def end(self, whole: bool) -> None:
        """A call ends; ``whole`` is what :meth:`begin` said."""
        self.under_way -= 1
        if whole:
            self._whole = False
        if self.under_way == 0:
            self._alone = min(CALM, self._alone + 1)


def session(path: str | Path, threads: int) -> onnxruntime.InferenceSession:
    """A session whose calls have so many threads: awake within a call, asleep between calls.

    To go to sleep and to wake up takes as long as a small operator; between calls the cores belong to others.
    """
    return opened(path, threads, ("session.force_spinning_stop", "1"))
