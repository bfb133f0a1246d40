"""Pipelines: ordered steps, each a command of its own, with one duty each.

The flow, and the modules that serve each stage::

    declared   [pipeline.NAME] of the project file -> a Pipeline, or every fault in it (pure)
    builtin    the pipeline that is there undeclared: ``deliver``; ``known`` finds any by its name
    words      parameters in commands; ``parameters`` and ``when``: their values, conditions on them (pure)
    graph      order, what can run beside what; ``drawing`` is its SVG (pure)
    key        what a step's result depends on, as one hash: command, inputs, parameters, lock (pure)
    plan       what is to be done next: run, ask, skip, block (pure)
    prepare    everything that can be found wrong before a step is started
    run        the loop around it; ``work`` does one step, with ``process``, ``secrets``, ``store``
    guard      clears away what a killed run leaves: processes, and outputs in the making
    record     runs, steps, questions and results, in SQLite; ``history`` shows them, ``approvals`` answers
    access     what a step needs to get at registries, models and environments (pure)
    github     a Pipeline -> the workflow of GitHub Actions
    watch      starts a pipeline for each new version of a model, once
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from serinus.project.pipelines import LOCKS

Value = bool | int | float | str
"""Of a parameter."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a pipeline: ``-p epochs=3``."""

    name: str
    default: Value | None = None
    """None: it must be given. Its type is that of ``type``."""
    type: str = "str"
    """``str``, ``int``, ``float`` or ``bool``."""
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[Value, ...] = ()
    about: str = ""


@dataclass(frozen=True, slots=True)
class Approval:
    """What a person is asked before the steps behind it go on."""

    question: str
    show: tuple[str, ...] = ()
    """Files that they see: metrics as JSON, plots as images, text."""
    against: str = ""
    """A model in the registry, as ``NAME@ALIAS``, whose metrics stand beside the new ones."""


@dataclass(frozen=True, slots=True)
class Step:
    """One duty: a command in a process of its own, or a question to a person."""

    name: str
    command: tuple[str, ...] = ()
    """Words, without a shell between; ``{epochs}`` stands for a parameter. Empty for an approval."""
    needs: tuple[str, ...] = ()
    """Steps that must be done before; those whose outputs are inputs here are needed without being named."""
    inputs: tuple[str, ...] = ()
    """Files and folders, relative to the project; patterns are allowed."""
    outputs: tuple[str, ...] = ()
    """Files and folders that it makes; they appear all or not at all."""
    params: tuple[str, ...] = ()
    """Parameters that its result depends on; those in its command are among them without being named."""
    env: Mapping[str, str] = field(default_factory=dict, hash=False)
    secrets: tuple[str, ...] = ()
    """Names of environment variables that it gets; their values are masked in all that it prints."""
    timeout: float | None = None
    """Seconds."""
    retries: int = 0
    when: str = ""
    """Runs only where this holds: ``publish``, ``not quick``, ``stage == 'prod' and epochs > 3``."""
    approve: Approval | None = None
    cache: bool = True
    """Whether it is left out when nothing that it depends on has changed. Steps without outputs that act on
    the world (publish, deploy) say no."""


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Steps by name in the order in which they were declared, and their parameters."""

    name: str
    steps: tuple[Step, ...]
    parameters: tuple[Parameter, ...] = ()
    about: str = ""
    locks: tuple[str, ...] = LOCKS
    """Files beside the project file that say which packages the steps have; those that exist count."""
    keep: int = 10 << 30
    """Bytes of outputs of earlier runs that are kept at most, to be taken again."""
