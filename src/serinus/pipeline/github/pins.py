"""The actions that workflows use, each pinned to a commit, in one table. Pure.

A tag can be moved to another commit by whoever owns, or has got hold of, the repository; a commit cannot.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from serinus.errors import PipelineError
from serinus.pipeline.github.emit import Noted


@dataclass(frozen=True, slots=True)
class Pin:
    """A commit of an action's repository, and the version that it is."""

    commit: str
    version: str


PINS: Mapping[str, Pin] = {
    "actions/checkout": Pin("de0fac2e4500dabe0009e67214ff5f5447ce83dd", "v6.0.2"),
    "actions/setup-python": Pin("a309ff8b426b58ec0e2a45f0f869d46889d02405", "v6.2.0"),
    "actions/cache": Pin("668228422ae6a00e4ad889ee87cd7109ec5666a7", "v5.0.4"),
    "actions/upload-artifact": Pin("043fb46d1a93c77aae656e7c1c64a875d1fc6a0a", "v7.0.1"),
    "actions/download-artifact": Pin("3e5f45b2cfb9172054b4087a40e8e0b5a5461e7c", "v8.0.1"),
    "azure/login": Pin("532459ea530d8321f2fb9bb10d1e0bcf23869a43", "v3.0.0"),
    "aws-actions/configure-aws-credentials": Pin("e1253824e5c10ff9df46874f81ed3ec929e19cfd", "v6.3.0"),
    "aws-actions/amazon-ecr-login": Pin("062b18b96a7aff071d4dc91bc00c4c1a7945b076", "v2.0.1"),
    "google-github-actions/auth": Pin("7c6bc770dae815cd3e89ee6cdf493a5fab2cc093", "v3.0.0"),
}
"""Every action that Serinus writes into a workflow."""

USED = re.compile(
    r"(?P<action>[\w.-]+/[\w.-]+)@(?P<commit>[0-9a-f]{40})[ \t]+#[ \t]*(?P<version>v?[0-9][\w.+-]*)"
)
"""``owner/action@commit # version``, as workflows have it and Dependabot keeps it."""


def used(action: str, pins: Mapping[str, Pin]) -> Noted:
    """An action as ``uses:`` names it, with its version as the comment."""
    pin = pins[action]
    return Noted(f"{action}@{pin.commit}", pin.version)


def found(text: str) -> dict[str, Pin]:
    """The pins in a workflow, of the actions that Serinus knows; the last wins."""
    return {
        match["action"]: Pin(match["commit"], match["version"])
        for match in USED.finditer(text)
        if match["action"] in PINS
    }


def without(text: str) -> str:
    """A workflow without its pins, so that one whose pins alone were moved is the same."""
    return USED.sub(r"\g<action>", text)


def read(text: str, name: str) -> dict[str, Pin]:
    """A file of pins: ``owner/action@commit # version``, one a line; others are as the table has them.

    Args:
        text: of the file.
        name: of the file, for the error.

    Raises:
        PipelineError: a line is none, or names an action that no workflow of Serinus uses.
    """
    pins: dict[str, Pin] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not (told := line.strip()) or told.startswith("#"):
            continue
        match = USED.fullmatch(told)
        if match is None or match["action"] not in PINS:
            raise PipelineError(
                f"{name}:{number}: found {told!r}, expected OWNER/ACTION@COMMIT # VERSION with a commit of "
                f"40 hexadecimal digits, of one of {', '.join(PINS)}",
                "Correct the line, or take it out.",
            )
        pins[match["action"]] = Pin(match["commit"], match["version"])
    return pins
