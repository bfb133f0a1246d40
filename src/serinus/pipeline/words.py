"""Commands as words: parameters put in, and what they seem to be for (pure).

``{epochs}`` is the value of the parameter of that name, wherever it stands in a word; ``{{epochs}}`` is those
letters with single braces. Any other brace is itself, so that JSON may stand in a command.
"""

from __future__ import annotations

import posixpath
import re
import sys
from collections.abc import Iterator, Mapping, Sequence

from serinus.pipeline import Step, Value

_PLACE = re.compile(r"\{\{([A-Za-z_][A-Za-z0-9_]*)\}\}|\{([A-Za-z_][A-Za-z0-9_]*)\}")

DUTIES: Mapping[str, frozenset[str]] = {
    "fetches": frozenset(["fetch", "download", "pull", "clone", "curl", "wget", "rsync", "scrape"]),
    "trains": frozenset(["train", "retrain", "fit", "finetune"]),
    "builds": frozenset(["build", "compile", "package"]),
    "publishes": frozenset(["publish", "push", "upload", "deploy", "release", "twine", "register"]),
}
"""What a step can be for, and the words that say so."""


def text_of(value: Value) -> str:
    """A parameter's value as a command gets it: ``true`` and ``false`` in small letters."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def places(text: str) -> Iterator[str]:
    """The names of the parameters that stand in a text."""
    return (match[2] for match in _PLACE.finditer(text) if match[2])


def put_in(text: str, values: Mapping[str, Value]) -> str:
    """A text with the parameters' values in their places."""
    return _PLACE.sub(lambda m: f"{{{m[1]}}}" if m[1] else text_of(values[m[2]]), text)


def parameters_of(step: Step) -> frozenset[str]:
    """The parameters that a step's result depends on: named, or in its command and variables."""
    texts = (*step.command, *step.env.values())
    return frozenset(step.params) | {name for text in texts for name in places(text)}


def command_of(step: Step, values: Mapping[str, Value]) -> tuple[str, ...]:
    """A step's command with the parameters' values in it."""
    return tuple(put_in(word, values) for word in step.command)


def started_as(command: Sequence[str]) -> tuple[str, ...]:
    """The words to start a process with: ``serinus`` is this program, wherever it was installed."""
    if command[0] == "serinus":
        return (sys.executable, "-m", "serinus", *command[1:])
    return tuple(command)


def duties(step: Step) -> tuple[str, ...]:
    """What a step seems to be for, of :data:`DUTIES`, by the words of its name and its command.

    More than one is greedy. Folders in a path say nothing: ``build/model.bin`` may be read by anybody.
    """
    said = set(re.split(r"[^a-z]+", step.name.lower()))
    for word in step.command:
        for piece in re.split(r"[\s;&|()'\"=,]+", word):
            name = posixpath.basename(piece.rstrip("/")) if "://" not in piece else ""
            said.update(re.split(r"[^a-z]+", name.lower()))
    return tuple(duty for duty, words in DUTIES.items() if words & said)


def greedy(step: Step) -> str:
    """What to tell a person of a step that tries to do too much; empty where there is nothing to say."""
    found = duties(step)
    if len(found) < 2:
        return ""
    several = f"{', '.join(found[:-1])} and {found[-1]}"
    return f"the step {step.name} is greedy: it {several}; one step each would say by its name what failed"
