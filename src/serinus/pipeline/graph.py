"""The graph of a pipeline: what must be over before what, by ``needs`` and by outputs that are inputs."""

from __future__ import annotations

import heapq
import itertools
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from fnmatch import fnmatchcase
from functools import cached_property

from serinus.errors import PipelineError
from serinus.pipeline import Pipeline, Step
from serinus.pipeline.words import parameters_of

_WILD = frozenset("*?[")


@dataclass(frozen=True)
class Graph:
    """A pipeline whose steps have an order."""

    pipeline: Pipeline
    steps: Mapping[str, Step] = field(hash=False)
    needs: Mapping[str, tuple[str, ...]] = field(hash=False)
    """Step -> all that must be over before it."""
    reads: Mapping[str, frozenset[str]] = field(hash=False)
    """Step -> those of ``needs`` whose outputs are inputs of it."""
    order: tuple[str, ...]
    """All steps, each behind what it needs, else as they were declared."""

    @cached_property
    def users(self) -> Mapping[str, tuple[str, ...]]:
        """Step -> the steps that need it."""
        found: dict[str, list[str]] = {name: [] for name in self.order}
        for name in self.order:
            for need in self.needs[name]:
                found[need].append(name)
        return {name: tuple(users) for name, users in found.items()}

    @cached_property
    def ranks(self) -> Mapping[str, tuple[int, int]]:
        """Step -> what decides among those that are ready: the longest chain behind it, its place."""
        behind: dict[str, int] = {}
        for name in reversed(self.order):
            behind[name] = 1 + max((behind[user] for user in self.users[name]), default=0)
        return {step.name: (-behind[step.name], place) for place, step in enumerate(self.pipeline.steps)}

    def behind(self, names: Iterable[str]) -> frozenset[str]:
        """The steps that need one of these, directly or through others."""
        return _closure(names, self.users)

    def before(self, names: Iterable[str]) -> frozenset[str]:
        """The steps that these need, directly or through others."""
        return _closure(names, self.needs)

    def parameters(self, name: str) -> frozenset[str]:
        """The parameters that a step or one before it depends on: what made all that it can see."""
        return frozenset().union(*(parameters_of(self.steps[one]) for one in (name, *self.before([name]))))

    def layers(self) -> list[list[str]]:
        """The steps by the length of the longest chain before them."""
        depth: dict[str, int] = {}
        for name in self.order:
            depth[name] = 1 + max((depth[need] for need in self.needs[name]), default=-1)
        found: list[list[str]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
        for step in self.pipeline.steps:
            found[depth[step.name]].append(step.name)
        return found


def _closure(names: Iterable[str], edges: Mapping[str, Sequence[str]]) -> frozenset[str]:
    found: set[str] = set()
    todo = [follower for name in names for follower in edges[name]]
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            todo += edges[name]
    return frozenset(found)


def graph(pipeline: Pipeline) -> Graph:
    """The order of a pipeline's steps.

    Raises:
        PipelineError: two steps of one name, a need that is no step, two steps that write one output, or a
            circle; each a line.
    """
    steps = {step.name: step for step in pipeline.steps}
    faults = [*_twice(pipeline.steps), *_unknown(steps), *_outputs(pipeline.steps)]
    if faults:
        raise PipelineError("\n".join(faults), "Correct the steps.")
    makers = _Makers(pipeline.steps)
    reads = {step.name: makers.of(step) for step in pipeline.steps}
    place = {name: number for number, name in enumerate(steps)}
    needs = {
        step.name: tuple(sorted({*step.needs, *reads[step.name]}, key=place.__getitem__))
        for step in pipeline.steps
    }
    return Graph(pipeline, steps, needs, reads, _order(needs, place, reads))


def _twice(steps: Sequence[Step]) -> Iterator[str]:
    names = [step.name for step in steps]
    if len(set(names)) < len(names):
        for name in sorted({name for name in names if names.count(name) > 1}):
            yield f"there is more than one step {name}"


def _unknown(steps: Mapping[str, Step]) -> Iterator[str]:
    for step in steps.values():
        for need in step.needs:
            if need not in steps:
                close = get_close_matches(need, steps, n=1, cutoff=0.5)
                hint = f"did you mean {close[0]}?" if close else f"there are {', '.join(steps)}"
                yield f"the step {step.name} needs {need!r}, which is no step; {hint}"


def _outputs(steps: Sequence[Step]) -> Iterator[str]:
    """Outputs that two steps write, or that lie in each other: neighbours, when sorted by their parts."""
    every = sorted((output.split("/"), output, step.name) for step in steps for output in step.outputs)
    for place, (parts, output, name) in enumerate(every):
        for below, inner, other in every[place + 1 :]:
            if below[: len(parts)] != parts:
                break
            if output == inner:
                whose = f"the step {name} writes" if name == other else f"{name} and {other} both write"
                twice = " twice" if name == other else ""
                yield f"{whose} {output!r}{twice}"
            else:
                yield f"{other} writes {inner!r}, which lies in {output!r} of {name}"


class _Makers:
    """Who makes what: finds the steps whose outputs a step reads."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self._made = {output: step.name for step in steps for output in step.outputs}
        self._sorted = sorted(self._made)

    def of(self, step: Step) -> frozenset[str]:
        """The steps whose outputs are inputs of this one, or hold one, or lie in one."""
        shown = step.approve.show if step.approve else ()
        found = {maker for path in (*step.inputs, *shown) for maker in self._making(path)}
        return frozenset(found - {step.name})

    def _making(self, path: str) -> Iterator[str]:
        if _WILD & set(path):
            yield from (maker for output, maker in self._made.items() if may_read(path, output))
            return
        parts = path.split("/")
        for length in range(1, len(parts) + 1):
            if maker := self._made.get("/".join(parts[:length])):
                yield maker
        below = f"{path}/" if path != "." else ""
        for place in range(bisect_left(self._sorted, below), len(self._sorted)):
            if not self._sorted[place].startswith(below):
                break
            yield self._made[self._sorted[place]]


def may_read(pattern: str, output: str) -> bool:
    """Whether a pattern of inputs reads an output: matches it, what it lies in, or what may lie in it.

    A pattern that begins with ``**`` looks for names anywhere, and does not look into outputs for them: else
    every step would need every other. What it means in an output is said by ``needs``.
    """
    return _prefixes(pattern.split("/"), output.split("/"), anchored=False)


def _prefixes(pattern: Sequence[str], path: Sequence[str], *, anchored: bool) -> bool:
    """Whether one can be the beginning of the other."""
    if not pattern or not path:
        return bool(anchored or not pattern)
    if pattern[0] == "**":
        if _prefixes(pattern[1:], path, anchored=anchored):
            return True
        if len(path) == 1:  # the whole output swallowed: what lies in it is meant
            return anchored or len(pattern) == 1
        return _prefixes(pattern, path[1:], anchored=anchored)
    return fnmatchcase(path[0], pattern[0]) and _prefixes(pattern[1:], path[1:], anchored=True)


def _order(
    needs: Mapping[str, Sequence[str]], place: Mapping[str, int], reads: Mapping[str, frozenset[str]]
) -> tuple[str, ...]:
    """All steps, each behind what it needs; of those that may come next, the one declared first."""
    names = list(place)
    left = {name: len(needs[name]) for name in names}
    users: dict[str, list[str]] = {name: [] for name in names}
    for name in names:
        for need in needs[name]:
            users[need].append(name)
    ready = [place[name] for name in names if not left[name]]
    heapq.heapify(ready)
    order: list[str] = []
    while ready:
        name = names[heapq.heappop(ready)]
        order.append(name)
        for user in users[name]:
            left[user] -= 1
            if not left[user]:
                heapq.heappush(ready, place[user])
    if len(order) < len(names):
        raise PipelineError(_circle(needs, set(names) - set(order), reads), "Correct the steps.")
    return tuple(order)


def _circle(needs: Mapping[str, Sequence[str]], stuck: set[str], reads: Mapping[str, frozenset[str]]) -> str:
    """A circle among the steps that nothing could be started of, said with why each needs the next."""
    at = min(stuck)
    seen: list[str] = []
    while at not in seen:
        seen.append(at)
        at = min(need for need in needs[at] if need in stuck)
    circle = [*seen[seen.index(at) :], at]
    told = circle[0]
    for name, need in itertools.pairwise(circle):
        told += f" {'reads from' if need in reads[name] else 'needs'} {need}"
    return f"these steps wait for each other: {told}"


def listed(found: Graph) -> list[tuple[str, str, str]]:
    """The graph as rows for a person, layer by layer: name, what it needs, what it does."""
    rows = []
    for layer in found.layers():
        for name in layer:
            step = found.steps[name]
            does = f"asks: {step.approve.question}" if step.approve else " ".join(step.command)
            if step.when:
                does += f"  (when {step.when})"
            rows.append((name, f"<- {', '.join(found.needs[name])}" if found.needs[name] else "", does))
    return rows
