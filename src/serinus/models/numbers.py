"""How a version's number is taken in a registry that cannot compare and swap. Pure; nothing here does I/O.

Whoever wants a number puts a claim beside the versions, a tag of its own (:func:`claim_tag`), and looks
again. Alone it takes the number. Among rivals only the one with the lowest id may, after it has waited until
nobody else can still be on the way; everybody else goes on to the next number. :func:`allocation` is that
protocol as a generator: it yields what is to be done and is sent what came of it, so that every interleaving
can be tested without a registry or a clock. What it assumes stands in ``docs/decisions/0014``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from typing import Literal

from serinus.errors import ModelError
from serinus.models.ids import version_of

SETTLE = 20.0
"""Seconds: twice the longest time from the look at the tags to the push, and from the push to its effect."""
ATTEMPTS = 50
"""Numbers that are tried before it is given up."""

_CLAIM = re.compile(r"_([1-9][0-9]{0,8})-([0-9a-f]{8,64})")


@dataclass(frozen=True, slots=True)
class Claim:
    """Somebody's wish to take a number."""

    number: int
    id: str
    """Random, in hexadecimal; the lowest has the right of way."""

    @property
    def tag(self) -> str:
        """The tag that stands for it; no version and no alias begins so."""
        return f"_{self.number}-{self.id}"


def claim_of(tag: str) -> Claim | None:
    """The claim that a tag stands for; None for another kind of tag."""
    match = _CLAIM.fullmatch(tag)
    return Claim(int(match[1]), match[2]) if match else None


def highest(tags: Iterable[str]) -> int:
    """The highest number that is taken or claimed; 0 for none.

    A claim counts even where its version is not there: its owner may be on the way, or was killed, or the
    version's tag was deleted.
    """
    numbers = [0]
    for tag in tags:
        claim = claim_of(tag)
        numbers.append(claim.number if claim else version_of(tag))
    return max(numbers)


Verdict = Literal["push", "wait", "again"]


def decide(tags: Iterable[str], mine: Claim, *, waited: bool) -> Verdict:
    """What follows from the tags as they are after ``mine`` was put there.

    Args:
        tags: of the repository.
        mine: our claim.
        waited: whether the settle time has passed between our claim and this look.

    Returns:
        ``push``, ``wait`` for the settle time and look again, or go on to the next number (``again``).

    Raises:
        ModelError: the registry does not list our claim even after a while; its lists cannot be relied on.
    """
    there = set(tags)
    if str(mine.number) in there:
        return "again"
    if mine.tag not in there:
        if not waited:
            return "wait"
        raise ModelError(
            f"the registry does not list the tag {mine.tag}, which was pushed a while ago",
            "Use a registry whose tag list is up to date, or one version at a time with an alias.",
        )
    claims = [claim for claim in map(claim_of, there) if claim]
    rivals = [c.id for c in claims if c.number == mine.number and c.id != mine.id]
    if any(rival < mine.id for rival in rivals):
        return "again"
    return "wait" if rivals and not waited else "push"


@dataclass(frozen=True, slots=True)
class Look:
    """List the tags. The answer: them."""


@dataclass(frozen=True, slots=True)
class Put:
    """Push a claim."""

    claim: Claim


@dataclass(frozen=True, slots=True)
class Drop:
    """Delete a claim that is not needed any more, if the registry lets us."""

    claim: Claim


@dataclass(frozen=True, slots=True)
class Sleep:
    """Wait."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Take:
    """Push the version that the claim is for, once, but not after a time of the clock."""

    claim: Claim
    not_after: float


@dataclass(frozen=True, slots=True)
class Read:
    """See whether the version is ours. The answer: whether the tag points at what we pushed for the claim."""

    claim: Claim


Ask = Look | Put | Drop | Sleep | Take | Read


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of an :data:`Ask`."""

    began: float
    """When it was begun, by a clock that goes on while the machine sleeps."""
    tags: tuple[str, ...] = ()
    """To :class:`Look`."""
    done: bool = True
    """To :class:`Take`: whether the registry said so, in time; to :class:`Read`: whether it is ours."""


def allocation(new_id: Callable[[], str], settle: float = SETTLE) -> Generator[Ask, Answer, Claim]:
    """Take the next number; give back the claim by which it was taken.

    Args:
        new_id: a random id, another one each time.
        settle: seconds; as :data:`SETTLE`.

    Raises:
        ModelError: the registry's lists cannot be relied on, or others were faster every time.
    """
    floor = 0
    for _ in range(ATTEMPTS):
        found = yield Look()
        floor = max(floor, highest(found.tags)) + 1
        mine = Claim(floor, new_id())
        yield Put(mine)
        found = yield Look()
        verdict = decide(found.tags, mine, waited=False)
        if verdict == "wait":
            yield Sleep(settle)
            found = yield Look()
            verdict = decide(found.tags, mine, waited=True)
        if verdict == "push":
            pushed = yield Take(mine, found.began + settle / 2)
            if not pushed.done:  # it was too late, or may still come through: until then nobody knows
                yield Sleep(settle / 2)
            ours = yield Read(mine)
            if ours.done:
                return mine
        yield Drop(mine)
    raise ModelError(
        f"others took the next version's number {ATTEMPTS} times before us",
        "Register again when fewer do it at the same moment.",
    )


def spent(tags: Iterable[str], taken: Callable[[int], str]) -> tuple[Claim, ...]:
    """Claims by which a version was taken that is not the highest one any more: they may go.

    The claim of the highest version stays: its number is known to be taken even if its tag is deleted.
    Claims whose version is not there stay too: somebody may be on the way.

    Args:
        tags: of the repository.
        taken: version -> the id of the claim by which it was taken.
    """
    there = set(tags)
    top = highest(there)
    claims = [claim for claim in map(claim_of, there) if claim and claim.number < top]
    gone = (c for c in claims if str(c.number) in there and taken(c.number) == c.id)
    return tuple(sorted(gone, key=lambda c: c.number))
