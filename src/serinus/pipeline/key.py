"""What a step's result depends on, as one hash: command, inputs, parameters, variables, lock (pure).

What does not belong to it: needs, conditions, retries, the time-out, the values of secrets. A step that reads
a file which it does not declare is not run again when that changes.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from serinus.pipeline import Approval, Step, Value
from serinus.pipeline.words import command_of, parameters_of, put_in

FORMAT = 1
_TOLD = 200
"""Inputs that are remembered by name; of more, only the hash of all."""


@dataclass(frozen=True, slots=True)
class Parts:
    """All that the result of a step depends on."""

    command: tuple[str, ...]
    """With the parameters' values in it."""
    params: Mapping[str, Value] = field(hash=False)
    env: Mapping[str, str] = field(hash=False)
    """Variables from the project file, with the parameters' values in them."""
    inputs: Mapping[str, str] = field(hash=False)
    """Path -> digest of the content."""
    locks: Mapping[str, str] = field(hash=False)
    """The same of the lock files."""
    secrets: tuple[str, ...] = ()
    """Names alone."""
    outputs: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        """As plain values, to be remembered and compared with later ones."""
        inputs = dict(sorted(self.inputs.items()))
        if len(inputs) > _TOLD:
            inputs = {"inputs": _digest(inputs)}
        return {
            "command": list(self.command),
            "params": dict(sorted(self.params.items())),
            "env": dict(sorted(self.env.items())),
            "inputs": inputs,
            "locks": dict(sorted(self.locks.items())),
            "secrets": sorted(self.secrets),
            "outputs": sorted(self.outputs),
        }


def parts_of(
    step: Step, values: Mapping[str, Value], inputs: Mapping[str, str], locks: Mapping[str, str]
) -> Parts:
    """What a step depends on.

    Args:
        step: the step.
        values: of all parameters.
        inputs: path -> digest of each file and folder that it reads.
        locks: the same of the lock files.
    """
    return Parts(
        command=command_of(step, values),
        params={name: values[name] for name in sorted(parameters_of(step))},
        env={name: put_in(text, values) for name, text in step.env.items()},
        inputs=inputs,
        locks=locks,
        secrets=step.secrets,
        outputs=step.outputs,
    )


def key_of(pipeline: str, step: str, parts: Parts) -> str:
    """``sha256:<hex>`` over the parts, for the step of that name."""
    exact = parts.document() | {"inputs": dict(sorted(parts.inputs.items()))}
    return _digest([FORMAT, pipeline, step, exact])


def key_of_question(approval: Approval, shown: Mapping[str, str]) -> str:
    """The same of a question: what a person answered holds for this question and these files alone."""
    return _digest([FORMAT, approval.question, approval.against, dict(sorted(shown.items()))])


def _digest(document: Any) -> str:
    # Distinct values have distinct texts: 1, 1.0, "1" and true are four.
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def why(before: Mapping[str, Any] | None, now: Mapping[str, Any]) -> str:
    """Why a step is run: what differs between the documents of two :class:`Parts`, in a few words."""
    if before is None:
        return "for the first time"
    return ", ".join(_differences(before, now)) or "its result is not kept any more"


def _differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    for kind in ("params", "env", "inputs", "locks"):
        old, new = before.get(kind, {}), now[kind]
        for name in sorted(old.keys() | new.keys()):
            if name not in new:
                yield f"{name} is gone"
            elif name not in old:
                yield f"{name} is new"
            elif json.dumps(old[name]) != json.dumps(new[name]):
                yield f"{name} {old[name]} -> {new[name]}" if kind == "params" else f"{name} changed"
    others = [kind for kind in ("command", "secrets", "outputs") if before.get(kind) != now[kind]]
    # A command that differs by its parameters alone has been told by them.
    if others != ["command"] or before.get("params") == now["params"]:
        yield from (f"{kind} changed" for kind in others)
