"""Licences of the installed packages."""

from __future__ import annotations

import re
from collections.abc import Sequence
from email.message import Message
from email.parser import BytesHeaderParser
from fnmatch import fnmatchcase
from pathlib import Path

from serinus.checks import Finding, NotApplicable, Result, check
from serinus.project import Checks

UNKNOWN = "NOASSERTION"
"""SPDX's word for a licence that nobody has stated."""
CLASSIFIERS = {
    "Apache Software License": "Apache-2.0",
    "BSD License": "BSD-3-Clause",
    "MIT License": "MIT",
    "MIT No Attribution License (MIT-0)": "MIT-0",
    "ISC License (ISCL)": "ISC",
    "Python Software Foundation License": "PSF-2.0",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "The Unlicense (Unlicense)": "Unlicense",
    "zlib/libpng License": "Zlib",
    "GNU General Public License (GPL)": "GPL-1.0-or-later",
    "GNU General Public License v2 (GPLv2)": "GPL-2.0-only",
    "GNU General Public License v2 or later (GPLv2+)": "GPL-2.0-or-later",
    "GNU General Public License v3 (GPLv3)": "GPL-3.0-only",
    "GNU General Public License v3 or later (GPLv3+)": "GPL-3.0-or-later",
    "GNU Lesser General Public License v2 (LGPLv2)": "LGPL-2.0-only",
    "GNU Lesser General Public License v2 or later (LGPLv2+)": "LGPL-2.0-or-later",
    "GNU Lesser General Public License v3 (LGPLv3)": "LGPL-3.0-only",
    "GNU Lesser General Public License v3 or later (LGPLv3+)": "LGPL-3.0-or-later",
    "GNU Library or Lesser General Public License (LGPL)": "LGPL-2.0-or-later",
    "GNU Affero General Public License v3": "AGPL-3.0-only",
    "GNU Affero General Public License v3 or later (AGPLv3+)": "AGPL-3.0-or-later",
}
"""Last part of a trove classifier -> SPDX identifier."""
_TOKEN = re.compile(r"\(|\)|[^\s()]+")
_IDENTIFIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]*")


@check(
    "dependencies.licences",
    why="A package under the AGPL came in by way of another one, and nobody saw it for a year.",
    seconds=0.1,
)
def licences(settings: Checks, packages: Path) -> Result:
    """No installed package has a licence that the project forbids, as its own metadata states it."""
    forbidden = settings.dependencies.forbidden_licences
    if not forbidden:
        raise NotApplicable(
            "the project forbids no licence",
            'Name some under [checks.dependencies]: forbidden_licences = ["AGPL-*"].',
        )
    stated = {
        file.parent.name: licence(_read(file)) for file in sorted(packages.glob("*.dist-info/METADATA"))
    }
    findings = tuple(
        Finding(
            f"{folder.removesuffix('.dist-info').replace('-', ' ')} has the forbidden licence {found}",
            "Take another package, or take the licence out of checks.dependencies.forbidden_licences.",
        )
        for folder, found in stated.items()
        if not allowed(found, forbidden)
    )
    silent = sum(found == UNKNOWN for found in stated.values())
    told = f"{len(stated)} packages, {silent} of them without a stated licence ({UNKNOWN})"
    return Result("" if findings else told, findings)


def licence(metadata: Message) -> str:
    """The SPDX expression of a package by its core metadata (PEP 639, then the fields before it). Pure."""
    if expression := metadata.get("License-Expression"):
        return str(expression)
    classifiers = [str(c).rpartition(" :: ")[2] for c in metadata.get_all("Classifier", ())
                   if str(c).startswith("License ::")]  # fmt: skip
    known = [CLASSIFIERS[c] for c in classifiers if c in CLASSIFIERS]
    if known:
        return " AND ".join(dict.fromkeys(known))
    said = str(metadata.get("License") or "").strip()
    return said if _IDENTIFIER.fullmatch(said) and said != "UNKNOWN" else CLASSIFIERS.get(said, UNKNOWN)


def allowed(expression: str, forbidden: Sequence[str]) -> bool:
    """Whether a licence expression leaves a permitted choice. Pure.

    Follows the SPDX specification ("License expressions"): WITH binds more tightly than AND, AND than OR.

    Args:
        expression: ``MIT OR (Apache-2.0 AND BSD-3-Clause)``.
        forbidden: patterns of identifiers; ``*`` is anything, and case does not matter.
    """
    tokens = _TOKEN.findall(expression)
    place = 0

    def either() -> bool:
        nonlocal place
        holds = both()
        while place < len(tokens) and tokens[place].upper() == "OR":
            place += 1
            holds = both() or holds
        return holds

    def both() -> bool:
        nonlocal place
        holds = one()
        while place < len(tokens) and tokens[place].upper() != "OR" and tokens[place] != ")":
            place += tokens[place].upper() == "AND"
            holds = one() and holds
        return holds

    def one() -> bool:
        nonlocal place
        word, place = (tokens[place] if place < len(tokens) else UNKNOWN), place + 1
        if word == "(":
            holds = either()
            place += 1
            return holds
        if place < len(tokens) and tokens[place].upper() == "WITH":
            place += 2  # an exception permits more; it makes the licence no other
        return not any(fnmatchcase(word.lower(), pattern.lower()) for pattern in forbidden)

    return either()


def _read(file: Path) -> Message:
    with file.open("rb") as stream:
        return BytesHeaderParser().parse(stream)
