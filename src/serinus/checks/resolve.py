"""Fixtures made one by one, when somebody asks for them: for pytest and for notebooks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any, Self

from serinus.checks.fixtures import FIXTURES, Fixture
from serinus.checks.subjects import Given
from serinus.errors import ProjectError


class Resolver:
    """Makes fixtures when they are asked for, each once; finishes them at the end of its block.

    Args:
        given: what is to be looked at.
        fixtures: those there are.
    """

    def __init__(self, given: Given, fixtures: Sequence[Fixture] = FIXTURES) -> None:
        self._fixtures = {fixture.name: fixture for fixture in fixtures}
        self._values: dict[str, Any] = {"given": given}
        self._open = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._open.close()

    def get(self, name: str) -> Any:
        """The value of a fixture.

        Raises:
            ProjectError: there is no such fixture.
            Exception: what making it raises; :class:`~serinus.checks.NotApplicable` where there is nothing.
        """
        if name in self._values:
            return self._values[name]
        if name not in self._fixtures:
            raise ProjectError(
                f"there is no fixture {name!r}", f"There are {', '.join(sorted(self._fixtures))}."
            )
        fixture = self._fixtures[name]
        made = fixture.make(**{need: self.get(need) for need in fixture.needs})
        if isinstance(made, Iterator):
            value = next(made)
            self._open.callback(list, made)  # the rest of the generator: what it does at its end
            made = value
        self._values[name] = made
        return made
