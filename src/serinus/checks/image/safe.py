"""What must not be in an image: a way to be root, secrets, code that its own service can change."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from serinus.checks import Finding, Result, check
from serinus.checks.image.contents import Entry, names, view
from serinus.checks.subjects import Given, Subject
from serinus.errors import RegistryError
from serinus.image import LIBRARY, RUNTIME, WORKDIR, select
from serinus.image import secrets as patterns
from serinus.runtimes.launch import User
from serinus.runtimes.launch import user as user_of

_SECRET_NAMES = (
    ".env", ".env.*", ".envrc", "*.pem", "*.key", "*.p12", "*.pfx", "*.jks", "*.keystore", "*.kdbx", "*.ppk",
    "id_rsa", "id_dsa", "id_ecdsa", "id_ed25519", ".netrc", "_netrc", ".pypirc", ".git-credentials",
    ".dockercfg", ".pgpass",
)  # fmt: skip
_NAMED = re.compile(
    r"^(?:\w*_)?(?:PASSWORD|PASSWD|SECRET|TOKEN|API_?KEY|ACCESS_?KEY|SECRET_?KEY|PRIVATE_?KEY)=\S+", re.I
)
_TAKE_OUT = "Take it out, build again, and change the secret: give it to the service by its environment."
_TESTS = re.compile(r"/(?:test|tests|testing|testdata)/")
_MOST = 20


@check("image.user", why="A service that runs as root turns one fault of a parser into the whole machine.")
def user(image: Subject, rootfs: Path, layer_contents: tuple[Entry, ...]) -> Result:
    """The image runs as a user that is named by number and is not root, and who can read its files."""
    named = str((image.config.get("config") or {}).get("User") or "")
    todo = "Set a numeric User such as 65532:65532, as `serinus build` does."
    try:
        who = user_of(rootfs, named)
    except RegistryError as error:
        return Result(findings=(Finding(error.message, todo, pointer="/config/User"),))
    if who.uid == 0:
        found = f"the image runs as root (User is {named!r}), expected a user other than root"
        return Result(findings=(Finding(found, todo, pointer="/config/User"),))
    if not named.partition(":")[0].isdecimal():
        found = (
            f"the image runs as {named!r}, expected a number: a cluster cannot tell that a name is not root"
        )
        return Result(findings=(Finding(found, todo, pointer="/config/User"),))
    closed = [e for e in _code(image, layer_contents) if e.kind != "link" and not _may(e, who, 4)]
    return Result(f"runs as {named}", tuple(_unreadable(entry, named) for entry in closed[:_MOST]))


def _unreadable(entry: Entry, named: str) -> Finding:
    return Finding(
        f"{entry.path} belongs to {entry.uid}:{entry.gid} with mode {entry.mode:04o}: {named} cannot read it",
        "Make it readable for all before it goes into the image.",
    )


def _may(entry: Entry, who: User, bit: int) -> bool:
    """Whether a user may read (4) or write (2), by the bits that apply to that user."""
    shift = 6 if entry.uid == who.uid else 3 if entry.gid == who.gid else 0
    return bool(entry.mode >> shift & bit)


def _code(image: Subject, entries: tuple[Entry, ...]) -> list[Entry]:
    """The entries of what the service runs: its own folder, the dependencies, the server."""
    workdir = str((image.config.get("config") or {}).get("WorkingDir") or WORKDIR)
    places = [place for place in dict.fromkeys((WORKDIR, LIBRARY, RUNTIME, workdir)) if place != "/"]
    return [
        entry
        for entry in view(entries).values()
        if any(entry.path == place or entry.path.startswith(f"{place}/") for place in places)
    ]


@check("image.code", why="Whoever gets a service to write a file next to its code runs code of their own.")
def code(image: Subject, rootfs: Path, layer_contents: tuple[Entry, ...]) -> Result:
    """No file of the code can be written by the user who runs it, and nothing above the base is set-uid."""
    who = user_of(rootfs, str((image.config.get("config") or {}).get("User") or ""))
    entries = _code(image, layer_contents)
    faults = [
        Finding(
            f"{e.path} belongs to {e.uid}:{e.gid} with mode {e.mode:04o}: the service can change its code",
            "Let it belong to root, with mode 0644 or 0755.",
        )
        for e in entries
        if e.kind != "link" and who.uid != 0 and _may(e, who, 2)
    ]
    told = names(image)
    raised = [e for e in view(layer_contents).values() if e.kind == "file" and e.mode & 0o6000]
    above = [e for e in raised if told[e.layer] != "base"]
    faults += [
        Finding(f"{e.path} is set-uid or set-gid (mode {e.mode:04o})", "Take the bit away: chmod a-s.")
        for e in above
    ]
    base = f"; the base has {len(raised) - len(above)} set-uid programs" if len(raised) > len(above) else ""
    return Result(f"{len(entries)} files and folders of code{base}", tuple(faults[:_MOST]))


@check(
    "image.secrets",
    why="An image goes to registries and machines that no secret should: once it was a .env with a password.",
)
def secrets(given: Given, image: Subject, layer_contents: tuple[Entry, ...]) -> Result:
    """No layer, also where a later one hides it, and nothing that the image says of itself holds a secret."""
    allow = given.project.image.allow_secrets if given.project else ()
    allowed, named = select.rules(allow), select.rules(_SECRET_NAMES)
    faults: list[Finding] = []
    for entry in layer_contents:
        own = entry.path.removeprefix(f"{WORKDIR}/").lstrip("/")
        if entry.kind != "file" or select.ignored(own, False, allowed) or _of_tests(entry.path):
            continue
        faults += (
            Finding(f"{entry.path} in layer {entry.layer} holds a {one.kind}", _TAKE_OUT, own, one.line)
            for one in entry.found
        )
        if not entry.found and select.ignored(own, False, named) and not _public(entry):
            told = f"{entry.path} in layer {entry.layer} is a file of secrets by its name"
            faults.append(Finding(told, _TAKE_OUT, own))
    faults += _told(image)
    return Result(f"{len(layer_contents)} entries of {len(image.layers)} layers", tuple(faults[:_MOST]))


def _of_tests(path: str) -> bool:
    """Whether it is published beside a package's or Python's own tests: a key there is no secret."""
    foreign = path.startswith((f"{LIBRARY}/", "/usr/lib/", "/usr/local/lib/", "/usr/share/"))
    return foreign and _TESTS.search(path) is not None


def _public(entry: Entry) -> bool:
    """Whether a file that is named like a key holds certificates or public keys."""
    return b"BEGIN CERTIFICATE" in entry.head or b"BEGIN PUBLIC KEY" in entry.head or _is_bundle(entry)


def _is_bundle(entry: Entry) -> bool:
    # Bundles of authorities begin with pages of comments.
    return entry.path.startswith(("/etc/ssl/", "/usr/share/ca-certificates/", "/usr/lib/ssl/"))


def _told(image: Subject) -> Iterator[Finding]:
    """Secrets in what the image says about itself."""
    inner = image.config.get("config") or {}
    lines = [(f"/config/Env/{i}", str(line)) for i, line in enumerate(inner.get("Env") or ())]
    lines += [(f"/config/Labels/{name}", f"{name}={value}") for name, value in image.labels.items()]
    for number, step in enumerate(image.config.get("history") or ()):
        words = str(step.get("created_by", ""))
        lines += [(f"/history/{number}/created_by", word) for word in (words, *words.split())]
    for pointer, text in lines:
        found = patterns.scan("", text.encode())
        name = text.partition("=")[0]
        if found:
            yield Finding(f"the image says a {found[0].kind}", _TAKE_OUT, pointer=pointer)
        elif _NAMED.match(text) and not pointer.startswith("/config/Labels"):
            yield Finding(f"the image says the value of {name}", _TAKE_OUT, pointer=pointer)
