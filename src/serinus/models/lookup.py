"""Ids are looked up on a shelf, and what is not there is told with what is near."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from serinus.errors import ModelError, NotFound
from serinus.models import ids
from serinus.models.facts import Facts
from serinus.models.ids import Id
from serinus.models.shelf import Shelf
from serinus.models.version import ModelVersion, version_at

Names = Callable[[], Iterable[str]]
"""Gives the names of all models, for a message; may raise a ModelError."""
_JOBS = 4
_LATEST = 20
"""Versions that are looked at for one that a run has registered."""


def find(shelf: Shelf, wanted: Id, names: Names) -> ModelVersion:
    """The version that an id names now.

    Raises:
        ModelError: there is none; the message names the nearest.
        RegistryError: as the shelf says.
    """
    number = wanted.version
    if not (number or wanted.alias or wanted.digest):
        number = numbers_of(shelf, wanted.name, names)[-1]
    try:
        descriptor = shelf.resolve(wanted.digest or wanted.alias or str(number))
    except NotFound:
        raise _missing(shelf, wanted, names) from None
    found = version_at(shelf.source, wanted.name, number, descriptor)
    return found if number else replace(found, version=_number(shelf, found))


def all_of(shelf: Shelf, name: str, names: Names) -> tuple[ModelVersion, ...]:
    """Every version of a model with its aliases, the oldest first.

    Raises:
        ModelError: there is none.
        RegistryError: as the shelf says.
    """
    numbers = numbers_of(shelf, name, names)

    def one(number: int) -> ModelVersion:
        return version_at(shelf.source, name, number, shelf.resolve(str(number)))

    with ThreadPoolExecutor(_JOBS) as pool:
        found = tuple(pool.map(one, numbers))
    aliases = aliases_of(shelf)
    return tuple(replace(version, aliases=aliases.get(version.digest, ())) for version in found)


def numbers_of(shelf: Shelf, name: str, names: Names) -> tuple[int, ...]:
    """The numbers of a model's versions, sorted; there is at least one.

    Raises:
        ModelError: there is no such model, or it has no versions.
    """
    tags = shelf.tags()
    found = tuple(sorted(filter(None, map(ids.version_of, tags))))
    if found:
        return found
    if not tags:
        raise _no_model(shelf, name, names)
    near = ids.nearest("", filter(ids.is_alias, tags))
    raise ModelError(
        f"the model {name} in {shelf.where} has no versions" + (f", only the tags {near}" if near else ""),
        f"Register one: `serinus model register {name} PATH`; or name a tag: {name}@TAG.",
    )


def of_run(shelf: Shelf, name: str, facts: Facts) -> ModelVersion | None:
    """The version of this content and these parameters that the same run has registered, if there is one."""
    if not facts.lineage.run:
        return None
    numbers = sorted(filter(None, map(ids.version_of, shelf.tags())), reverse=True)
    for number in numbers[:_LATEST]:
        found = version_at(shelf.source, name, number, shelf.resolve(str(number)))
        if _who_made(found.facts) == _who_made(facts):
            return found
    return None


def _who_made(facts: Facts) -> tuple[object, ...]:
    made = facts.lineage
    return made.run, made.pipeline, made.repository, facts.content, dict(facts.params)


def aliases_of(shelf: Shelf) -> dict[str, tuple[str, ...]]:
    """Digest of a manifest -> the aliases that point at it, sorted."""
    names = sorted(tag for tag in shelf.tags() if ids.is_alias(tag))
    with ThreadPoolExecutor(_JOBS) as pool:
        digests = tuple(pool.map(lambda alias: shelf.resolve(alias).digest, names))
    found: dict[str, tuple[str, ...]] = {}
    for alias, digest in zip(names, digests, strict=True):
        found[digest] = (*found.get(digest, ()), alias)
    return found


def ranges(numbers: Sequence[int]) -> str:
    """Sorted numbers for people: ``1 to 3, 5``."""
    parts: list[str] = []
    for number in numbers:
        first, _, last = parts[-1].partition(" to ") if parts else ("", "", "")
        if parts and number == int(last or first) + 1:
            parts[-1] = f"{first} to {number}"
        else:
            parts.append(str(number))
    return ", ".join(parts)


def _number(shelf: Shelf, found: ModelVersion) -> int:
    """The number of a version that was named otherwise: its manifest tells, and the tag must agree."""

    def points(number: int) -> bool:
        try:
            return shelf.resolve(str(number)).digest == found.digest
        except NotFound:
            return False

    if found.version and points(found.version):
        return found.version
    return next((n for n in map(ids.version_of, shelf.tags()) if n and points(n)), 0)


def _missing(shelf: Shelf, wanted: Id, names: Names) -> ModelError:
    tags = shelf.tags()
    if not tags:
        return _no_model(shelf, wanted.name, names)
    numbers = sorted(filter(None, map(ids.version_of, tags)))
    if wanted.alias:
        near = ids.nearest(wanted.alias, filter(ids.is_alias, tags))
        there = f"it has the aliases {near}" if near else "it has no aliases"
        some = numbers[-1] if numbers else 1
        todo = f"Give it: `serinus model alias {wanted.name}:{some} {wanted.alias}`."
    else:
        there = f"it has the versions {ranges(numbers)}" if numbers else "it has no versions"
        todo = f"See them with `serinus model list {wanted.name}`."
    return ModelError(f"there is no model {wanted} in {shelf.where}; {there}", todo)


def _no_model(shelf: Shelf, name: str, names: Names) -> ModelError:
    try:
        near = ids.nearest(name, names())
    except ModelError:
        near = ""
    there = f"; there are {near}" if near else ""
    return ModelError(
        f"there is no model {name} in {shelf.where}{there}",
        f"Register it: `serinus model register {name} PATH`.",
    )
