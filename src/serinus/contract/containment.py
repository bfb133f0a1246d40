"""Is every value of one JSON Schema also valid under another? Pure.

The answer is a list of problems; an empty list is a proof. The converse does not hold: what cannot be decided
is a problem too, and says so. Deciding containment in full is not feasible (with ``not`` and ``$ref`` it is
EXPTIME-hard), so the wider schema is taken keyword by keyword, and the narrower one, where it offers
alternatives, case by case. Recursive schemas are compared by coinduction: a pair that is met again one value
further down is taken to hold, which is sound because values are finite.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from serinus.contract import Schema
from serinus.contract.references import AnySchema
from serinus.contract.shape import (
    NOTHING,
    UNEVALUATED,
    Document,
    Parts,
    canonical,
    closed_names,
    highest,
    lowest,
    matches,
    named_types,
    required,
)
from serinus.contract.violations import TYPE_NAMES
from serinus.contract.wire import shorten
from serinus.errors import ContractError

Path = tuple[str, ...]
EACH = "*"
"""Stands in a path for every item of an array, or every further member of an object."""
_STEPS = 5000
_DEEPEST = 50
_OPAQUE = (
    ("not",),
    ("if", "then", "else"),
    ("contains", "minContains", "maxContains"),
    ("dependentSchemas",),
    ("unevaluatedItems",),
    ("unevaluatedProperties",),
)
"""Keywords that are compared as they stand, together where they act together."""


class Problem(NamedTuple):
    """A place where the narrower schema may allow what the wider does not."""

    path: Path
    keyword: str
    """Of the wider schema."""
    gap: str
    """What is allowed by the one and not by the other, as a noun phrase; or what cannot be decided."""
    decided: bool = True


def problems(narrow: Document, wide: Document) -> list[Problem]:
    """Where values of ``narrow`` may not be values of ``wide``; empty when there are none, for certain."""
    question = _Question(narrow, wide)
    try:
        found = question.contained(narrow.parts(narrow.root), wide.root, ())
    except ContractError as error:
        found = [Problem((), "$ref", error.message, decided=False)]
    except RecursionError:
        found = [Problem((), "$ref", "the schemas are nested too deeply", decided=False)]
    return list(dict.fromkeys(found))


class _Question:
    """Two documents, and how far the comparison has come."""

    def __init__(self, narrow: Document, wide: Document) -> None:
        self.narrow = narrow
        self.wide = wide
        self._steps = 0
        self._open: dict[str, int] = {}
        self._same = canonical(narrow.definitions) == canonical(wide.definitions)

    def contained(self, parts: Parts, schema: AnySchema, path: Path) -> list[Problem]:
        """Problems of ``parts`` (of the narrow document) under ``schema`` (of the wide one)."""
        targets = self.wide.parts(schema)
        key = canonical([parts, targets])
        if key in self._open:
            if len(path) > self._open[key]:
                return []
            return [Problem(path, "$ref", "the schemas refer to themselves", decided=False)]
        self._steps += 1
        if self._steps > _STEPS or len(path) > _DEEPEST:
            return [
                Problem(
                    path, "allOf", "the schemas are too deep or have too many alternatives", decided=False
                )
            ]
        self._open[key] = len(path)
        try:
            return self._answer(parts, targets, path) if targets else []
        finally:
            del self._open[key]

    def _answer(self, parts: Parts, targets: Parts, path: Path) -> list[Problem]:
        values = self.narrow.values(parts)
        if values is not None:
            return self._listed(values, targets, path, parts)
        types = self.narrow.types(parts)
        found = [p for target in targets for p in self._under(parts, types, target, path)]
        return self._by_cases(parts, targets, path) if found and _alternatives(parts) else found

    def _listed(self, values: list[Any], targets: Parts, path: Path, parts: Parts) -> list[Problem]:
        """The narrow schema has these values alone: each is tried."""
        refused = [value for value in values if not self.wide.allows(targets, value)]
        if not refused:
            return []
        types = self.narrow.types(parts)
        wide_types = self.wide.types(targets)
        if not types & wide_types:
            return [Problem(path, "type", _name_types(types))]
        shown = " or ".join(shorten(canonical(value), 40) for value in refused[:5])
        return [Problem(path, "enum", shown)]

    def _by_cases(self, parts: Parts, targets: Parts, path: Path) -> list[Problem]:
        """Each alternative of the narrow schema on its own."""
        index, keyword = _alternatives(parts)[0]
        # What is left of a part may only allow more: hence without keywords that look at the one taken out.
        rest = {k: v for k, v in parts[index].items() if k != keyword and k not in UNEVALUATED}
        others = (*parts[:index], *((rest,) if rest else ()), *parts[index + 1 :])
        schema = {"allOf": list(targets)}
        found: list[Problem] = []
        for branch in parts[index][keyword]:
            found += self.contained(others + self.narrow.parts(branch), schema, path)
        return found

    def _under(self, parts: Parts, types: frozenset[str], target: Schema, path: Path) -> Iterator[Problem]:
        """Problems under one part of the wide schema, keyword by keyword."""
        if any(self._equal(part, target) for part in parts):
            return
        missing = types - named_types(target)
        if missing:
            yield Problem(path, "type", _name_types(missing))
        if "enum" in target or "const" in target:
            listed = target.get("enum", [target.get("const")])
            shown = ", ".join(shorten(canonical(value), 40) for value in listed[:5])
            yield Problem(path, "enum", f"a value other than {shown}")
        for needed, compare in _BY_TYPE:
            common = types & needed & named_types(target)
            if common:
                yield from compare(self, parts, common, target, path)
        if "anyOf" in target:
            yield from self._some(parts, types, target["anyOf"], path)
        if "oneOf" in target:
            yield from self._one(parts, types, target["oneOf"], path)
        yield from self._opaque(parts, types, target, path)

    def _equal(self, part: Any, target: Any) -> bool:
        text = canonical(part)
        return text == canonical(target) and (self._same or '"$ref"' not in text)

    def _opaque(self, parts: Parts, types: frozenset[str], target: Schema, path: Path) -> Iterator[Problem]:
        for keywords in _OPAQUE:
            first = keywords[0]
            if first not in target or _says_nothing(first, target):
                continue
            wanted = {k: target[k] for k in keywords if k in target}
            same = [
                part for part in parts if self._equal({k: part[k] for k in keywords if k in part}, wanted)
            ]
            if (
                same and first not in UNEVALUATED
            ):  # those look at their whole schema, which was compared before
                continue
            if first == "not" and self._apart(parts, target["not"]):
                continue
            if types & _APPLIES.get(first, types):
                yield Problem(path, first, f"the keyword {first} differs", decided=False)

    def _some(
        self, parts: Parts, types: frozenset[str], branches: Sequence[AnySchema], path: Path
    ) -> Iterator[Problem]:
        """Each type of value must find a place in one of the alternatives."""
        for name in _together(types):
            narrowed = {"type": name}
            case = parts if narrowed in parts else (*parts, narrowed)
            yield from self._place(case, name, branches, path)

    def _place(self, parts: Parts, name: str, branches: Sequence[AnySchema], path: Path) -> list[Problem]:
        possible = [branch for branch in branches if not self._apart(parts, branch)]
        tried = []
        for branch in possible:
            tried.append(self.contained(parts, branch, path))
            if not tried[-1]:
                return []
        if _alternatives(parts):  # the narrow schema's own alternatives may each find a place of their own
            cases = self._by_cases(parts, ({"anyOf": list(branches)},), path)
            if not cases:
                return []
        if not possible:
            return [Problem(path, "anyOf", TYPE_NAMES[name])]
        if len(possible) == 1:
            return tried[0]
        return [Problem(path, "anyOf", f"no alternative takes every {name}", decided=False)]

    def _one(
        self, parts: Parts, types: frozenset[str], branches: Sequence[AnySchema], path: Path
    ) -> Iterator[Problem]:
        """As :meth:`_some`, and the alternatives must exclude each other."""
        found = list(self._some(parts, types, branches, path))
        yield from found
        wide = [self.wide.parts(branch) for branch in branches]
        exclusive = all(
            _disjoint(self.wide, one, self.wide, other) for i, one in enumerate(wide) for other in wide[:i]
        )
        if not found and not exclusive:
            near = [b for b in branches if not self._apart(parts, b)]
            if len(near) != 1:
                yield Problem(path, "oneOf", "more than one alternative may fit", decided=False)

    def _apart(self, parts: Parts, branch: AnySchema) -> bool:
        return _disjoint(self.narrow, parts, self.wide, self.wide.parts(branch))

    # -------------------------------------------------------------------------------------- by type

    def numbers(self, parts: Parts, types: frozenset[str], target: Schema, path: Path) -> Iterator[Problem]:
        """``minimum``, ``maximum``, the exclusive ones, ``multipleOf``."""
        whole = "fraction" not in types
        if lowest((target,), whole) > lowest(parts, whole):
            bound, excluded = lowest((target,), whole)
            yield Problem(path, "minimum", f"a number below {bound}{' or equal to it' if excluded else ''}")
        (bound, excluded), (mine, mine_excluded) = highest((target,), whole), highest(parts, whole)
        if (bound, not excluded) < (mine, not mine_excluded):
            yield Problem(path, "maximum", f"a number above {bound}{' or equal to it' if excluded else ''}")
        factor = target.get("multipleOf")
        if factor is not None and not (whole and factor == 1) and not _divides(factor, parts):
            yield Problem(path, "multipleOf", f"a number that is no multiple of {factor}")

    def strings(self, parts: Parts, types: frozenset[str], target: Schema, path: Path) -> Iterator[Problem]:
        """``minLength``, ``maxLength``, ``pattern``, ``format``."""
        yield from _sizes(parts, target, path, ("minLength", "maxLength"), "a string of {} {} characters")
        for keyword in ("pattern", "format"):
            if keyword in target and all(part.get(keyword) != target[keyword] for part in parts):
                why = f"a string may not fit the {keyword} {shorten(target[keyword])}"
                yield Problem(path, keyword, why, decided=False)

    def arrays(self, parts: Parts, types: frozenset[str], target: Schema, path: Path) -> Iterator[Problem]:
        """``minItems``, ``maxItems``, ``uniqueItems``, ``prefixItems``, ``items``."""
        most = self.narrow.most_items(parts)
        effective = (*parts, {"maxItems": most})
        yield from _sizes(effective, target, path, ("minItems", "maxItems"), "an array of {} {} items")
        if target.get("uniqueItems") and most > 1 and not any(p.get("uniqueItems") for p in parts):
            yield Problem(path, "uniqueItems", "an array with equal items")
        prefix = target.get("prefixItems", [])
        longest = max([len(prefix), *(len(part.get("prefixItems", [])) for part in parts)])
        rest = target.get("items", True)
        for index in range(longest):
            if index < most:
                wanted = prefix[index] if index < len(prefix) else rest
                yield from self._below(self.narrow.item(parts, index), wanted, (*path, str(index)), "items")
        if most > longest:
            yield from self._below(self.narrow.item(parts, longest), rest, (*path, EACH), "items")

    def objects(self, parts: Parts, types: frozenset[str], target: Schema, path: Path) -> Iterator[Problem]:
        """``required``, the numbers of members, and what each member must be."""
        always = required(parts)
        for name in target.get("required", ()):
            if name not in always:
                yield Problem((*path, name), "required", f"an object without {shorten(canonical(name))}")
        effective = (*parts, {"minProperties": len(always), "maxProperties": self.narrow.most_members(parts)})
        yield from _sizes(
            effective, target, path, ("minProperties", "maxProperties"), "an object of {} {} members"
        )
        yield from self._members(parts, target, path)
        names = target.get("propertyNames", True)
        if names is not True and not any(self._equal(p.get("propertyNames"), names) for p in parts):
            yield from self._names(parts, names, path)
        yield from self._dependent(parts, target, always, path)

    def _members(self, parts: Parts, target: Schema, path: Path) -> Iterator[Problem]:
        stated = target.get("properties", {})
        patterns = target.get("patternProperties", {})
        additional = target.get("additionalProperties", True)
        own = {name: None for part in parts for name in part.get("properties", {})}
        for name in {**dict.fromkeys(stated), **own, **dict.fromkeys(sorted(required(parts)))}:
            mine = self.narrow.member(parts, name)
            wanted = [schema for pattern, schema in patterns.items() if matches(pattern, name)]
            wanted += [stated[name]] if name in stated else []
            for schema in wanted or [additional]:
                yield from self._below(mine, schema, (*path, name), "additionalProperties")
        for pattern, schema in patterns.items():
            yield from self._matching(parts, pattern, schema, path)
        if additional is not True:
            mine = self.narrow.further(parts, list(patterns))
            yield from self._below(mine, additional, (*path, EACH), "additionalProperties")

    def _matching(self, parts: Parts, pattern: str, schema: AnySchema, path: Path) -> Iterator[Problem]:
        """Members whose names match a pattern of the wide schema, but those that ``properties`` names."""
        if any(closed_names(part) is not None for part in parts):
            return
        mine: Parts = ()
        for part in parts:
            if pattern in part.get("patternProperties", {}):
                mine += self.narrow.parts(part["patternProperties"][pattern])
            elif not part.get("patternProperties"):
                mine += self.narrow.parts(part.get("additionalProperties", True))
        yield from self._below(mine, schema, (*path, EACH), "patternProperties")

    def _names(self, parts: Parts, names: AnySchema, path: Path) -> Iterator[Problem]:
        closed = [known for part in parts if (known := closed_names(part)) is not None]
        if not closed:
            yield Problem(path, "propertyNames", "the name of a member may not fit", decided=False)
            return
        for name in sorted(set.intersection(*closed)):
            if not self.wide.allows(self.wide.parts(names), name):
                yield Problem((*path, name), "propertyNames", f"the member {shorten(canonical(name))}")

    def _dependent(self, parts: Parts, target: Schema, always: set[str], path: Path) -> Iterator[Problem]:
        for name, needed in target.get("dependentRequired", {}).items():
            given = set(always)
            for part in parts:
                given |= set(part.get("dependentRequired", {}).get(name, ()))
            if NOTHING in self.narrow.member(parts, name):
                continue
            for other in needed:
                if other not in given and other != name:
                    gap = f"an object with {shorten(canonical(name))} and without {shorten(canonical(other))}"
                    yield Problem((*path, other), "dependentRequired", gap)

    def _below(self, parts: Parts, schema: AnySchema, path: Path, keyword: str) -> list[Problem]:
        """Problems of a member or an item; if there can be none of it, there is no problem."""
        if NOTHING in parts:
            return []
        if schema is False:
            kind = "item" if keyword == "items" else "member"
            what = f"further {kind}s" if path[-1] == EACH else f"the {kind} {path[-1]}"
            return [Problem(path, keyword, shorten(what, 80))]
        return self.contained(parts, schema, path)


_Compare = Callable[[_Question, Parts, frozenset[str], Schema, Path], Iterator[Problem]]
_BY_TYPE: tuple[tuple[frozenset[str], _Compare], ...] = (
    (frozenset({"integer", "fraction"}), _Question.numbers),
    (frozenset({"string"}), _Question.strings),
    (frozenset({"array"}), _Question.arrays),
    (frozenset({"object"}), _Question.objects),
)
_APPLIES = {
    "contains": frozenset({"array"}),
    "unevaluatedItems": frozenset({"array"}),
    "unevaluatedProperties": frozenset({"object"}),
    "dependentSchemas": frozenset({"object"}),
}


def _says_nothing(keyword: str, schema: Schema) -> bool:
    """Whether an opaque keyword allows everything, as ``contains: {}`` does not: it wants an item."""
    if keyword == "if":
        return "then" not in schema and "else" not in schema
    return keyword in (*UNEVALUATED, "dependentSchemas") and schema[keyword] in (True, {})


def _disjoint(one: Document, mine: Parts, other: Document, theirs: Parts, depth: int = 0) -> bool:
    """Whether no value is valid under both, for certain."""
    common = one.types(mine) & other.types(theirs)
    if not common:
        return True
    values = one.values(mine)
    if values is not None:
        return not any(other.allows(theirs, value) for value in values)
    values = other.values(theirs)
    if values is not None:
        return not any(one.allows(mine, value) for value in values)
    if common != {"object"} or depth > 4:
        return False
    return any(
        _disjoint(one, one.member(mine, name), other, other.member(theirs, name), depth + 1)
        for name in sorted(required(mine) | required(theirs))
    )


def _alternatives(parts: Parts) -> list[tuple[int, str]]:
    return [(i, keyword) for i, part in enumerate(parts) for keyword in ("anyOf", "oneOf") if keyword in part]


def _sizes(
    parts: Parts, target: Schema, path: Path, keywords: tuple[str, str], gap: str
) -> Iterator[Problem]:
    least, most = keywords
    if target.get(least, 0) > max((part.get(least, 0) for part in parts), default=0):
        yield Problem(path, least, gap.format("less than", target[least]))
    limit = target.get(most)
    if limit is not None and not any(part.get(most, limit + 1) <= limit for part in parts):
        yield Problem(path, most, gap.format("more than", limit))


def _divides(factor: Any, parts: Parts) -> bool:
    """Whether some part already asks for a multiple of the factor; of whole factors alone for certain."""
    stated = [part["multipleOf"] for part in parts if "multipleOf" in part]
    return any(
        mine == factor or (isinstance(mine, int) and isinstance(factor, int) and mine % factor == 0)
        for mine in stated
    )


def _together(types: frozenset[str]) -> list[str]:
    """Names that ``type`` knows, ``number`` for both of its halves."""
    if "fraction" in types:
        types = (types - {"fraction", "integer"}) | {"number"}
    return sorted(types)


def _name_types(types: frozenset[str]) -> str:
    if len(types) > 4:
        return "a value of another type"
    if "fraction" in types and "integer" not in types:
        rest = types - {"fraction"}
        return " or ".join([*(TYPE_NAMES[t] for t in sorted(rest)), "a number that is not whole"])
    return " or ".join(TYPE_NAMES[t] for t in _together(types))
