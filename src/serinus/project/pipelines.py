"""The tables of ``[pipeline.NAME]``: what a project says of its pipelines, as it stands there.

``serinus.pipeline.declared`` makes pipelines of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from serinus.project.declare import key as _key
from serinus.project.declare import tables as _tables
from serinus.project.declare import texts as _texts

NAMES = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$"
"""Names of pipelines and steps: they are names of files too."""
VARIABLES = r"^[A-Za-z_][A-Za-z0-9_]*$"
"""Names of parameters and of environment variables."""

LOCKS = (
    "serinus.lock",
    "requirements.lock",
    "uv.lock",
    "poetry.lock",
    "pdm.lock",
    "pylock.toml",
    "Pipfile.lock",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterTable:
    """A parameter of a pipeline, given as `serinus run NAME -p PARAMETER=VALUE`."""

    type: str | None = _key(None, pattern=r"^(?:str|int|float|bool)$")
    """`str`, `int`, `float` or `bool`; default that of `default`, else `str`."""
    default: bool | int | float | str | None = _key(None, scalar=True)
    """Its value where none is given. Without it, one must be given."""
    minimum: float | None = _key(None)
    """Least value of a number."""
    maximum: float | None = _key(None)
    """Greatest value of a number."""
    choices: tuple[bool | int | float | str, ...] = _key((), scalars=True)
    """The values that are allowed; any, where there are none."""
    about: str = _key("")
    """What it is for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTable:
    """A step: a command in a process of its own, or a question to a person."""

    run: str | tuple[str, ...] | None = _key(None, words=True)
    """The command: a text, split into words as a shell would and run without one, or a list of words.
    `{epochs}` is the value of a parameter; a command that begins with `serinus` is this program. It runs in
    the project's folder."""
    approve: str | None = _key(None, min_length=1)
    """Instead of a command: the question that a person answers before the steps behind it go on."""
    show: tuple[str, ...] = _key(())
    """Files that the person sees: metrics as JSON, images, text."""
    against: str | None = _key(None, min_length=1)
    """A model in the registry, `NAME@ALIAS`, whose metrics stand beside those of `show`."""
    needs: tuple[str, ...] = _key(())
    """Steps that must be over before. Those whose outputs are inputs here need not be named."""
    inputs: tuple[str, ...] = _key((), each=r"^[^\x00]+$")
    """Files and folders that its result depends on, relative to the project; `*`, `?` and `[...]` stay within
    one name, `**` crosses folders."""
    outputs: tuple[str, ...] = _key((), each=r"^[^\x00]+$")
    """Files and folders that it makes: all of them are there when it is done, none when it is not."""
    params: tuple[str, ...] = _key(())
    """Parameters that its result depends on, beside those in its command and `env`."""
    env: Mapping[str, str] = _texts(names=VARIABLES)
    """Environment variables that it gets; `{epochs}` is the value of a parameter."""
    secrets: tuple[str, ...] = _key((), each=VARIABLES)
    """Environment variables that hold secrets: only steps that name one get it, and its value is masked."""
    timeout: float | None = _key(None, unit="seconds", gt=0)
    """Longest time for one attempt, in seconds or like `"10m"`."""
    retries: int = _key(0, ge=0, le=100)
    """How often it is tried again when it failed."""
    when: str | None = _key(None, min_length=1, max_length=1000)
    """It runs only where this holds of the parameters: `"publish and epochs >= 3"`."""
    cache: bool = _key(True)
    """Whether it is left out when nothing that its result depends on has changed. `false` for steps that act
    on the world."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineTable:
    """A pipeline: steps in the order in which they stand in the file."""

    about: str = _key("")
    """What it is for."""
    locks: tuple[str, ...] = _key(LOCKS, each=r"^[^\x00]+$")
    """Files that say which packages the steps have: every step is run again when one of them changes."""
    keep: int = _key(10 << 30, unit="bytes", ge=0)
    """Most bytes of outputs of earlier runs that are kept to be taken again, in bytes or like `"10GiB"`."""
    params: Mapping[str, ParameterTable] = _tables(ParameterTable, "PARAMETER", VARIABLES)
    steps: Mapping[str, StepTable] = _tables(StepTable, "STEP", NAMES)
