"""A model in onnxruntime, which is imported with the first; why it does not load one, in words that help."""

from __future__ import annotations

import ctypes
import re
from pathlib import Path
from typing import TYPE_CHECKING

from serinus.errors import ServiceError

if TYPE_CHECKING:
    import onnxruntime


def session_of(path: Path, threads: int) -> onnxruntime.InferenceSession:
    """A session on the processor.

    Args:
        path: the model; weights in external files are looked for beside it.
        threads: of one inference.

    Raises:
        ServiceError: the runtime does not load it.
    """
    try:
        # Idle threads that spin take their cores from the requests beside them.
        return opened(path, threads, ("session.intra_op.allow_spinning", "0"))
    except Exception as error:
        import onnxruntime

        raise _unloadable(path, str(error), onnxruntime.__version__) from error


def opened(path: str | Path, threads: int, spinning: tuple[str, str]) -> onnxruntime.InferenceSession:
    """A session on the processor, and when its threads are awake without work: an entry of its configuration.

    Raises:
        Exception: the runtime does not load the model, in its own words.
    """
    import onnxruntime

    onnxruntime.disable_telemetry_events()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry(*spinning)
    # What goes wrong comes as an exception; the runtime's own lines would stand among the JSON of the log.
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def trim() -> None:
    """Give the memory back that was needed to load a model and is no longer: as much again as the weights.

    GNU's C library keeps what was freed for later (``malloc_trim(3)``); others need not be asked.
    """
    release = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if release is not None:
        release(0)


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
