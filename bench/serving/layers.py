"""Where the time of a request goes: microseconds of each layer, and a flame graph.

    python bench/serving/layers.py [small|typed-def|typed-async|sentences|glad] [--connections 64]
        [--seconds 8] [--svg FILE] [--json FILE] [--markdown FILE]

The packaged service runs in the sandbox under wrk, and py-spy looks 500 times a second where its Python
threads are (it needs root, or the permission to trace). Each look is dealt to a layer by the innermost
function that has one (:data:`RULES`), and scaled to the processor time that the kernel has counted for the
thread. Threads without Python are Granian's, which read, parse and write HTTP, and the model runtime's.
A function in C (of uvloop, orjson, the model runtime) counts for the Python function that calls it, but for
the two calls by which a request's body comes and its answer goes: they are the server's. The small model is
looked at on bare Granian as well, by an app that does no more than what must be done.

`--markdown` writes the table into a page of the documentation, between the two comments that mark the place.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import dropwhile
from pathlib import Path

from flame import draw
from load import wrk
from peers import Service, bare_layers, install, program, serinus
from report import Table, machine
from stand import CACHE, HERE, ROOT, CannotMeasureError, command_line, layout, threads
from tasks import glad, sentences, small, typed

LOOKS = 500
"""A second."""
LAYERS = ("server", "routing", "decode", "validation", "tensor", "run", "encode", "metrics", "other")
NATIVE = "threads without Python"
RULES: tuple[tuple[str, str], ...] = (
    # A function as py-spy shows it, "name (path/file.py)" -> its layer; the first that fits counts.
    (r"^(decode|tensor|run|encode) \(granian_layers\.py\)", "="),
    (r"\(granian_layers\.py\)", "server"),
    (r"^_runner\b.*serving/onnx\.py\)|_here \(.*serving/onnx\.py\)|serving/binding\.py\)", "run"),
    (r"\(onnxruntime/", "run"),
    (r"^keeping\b.*serving/tensors\.py\)", "validation"),
    (r"^(encode|check_finite|_infinite|_plain|_writable)\b.*serving/tensors\.py\)", "encode"),
    (r"^_observed\b.*serving/writing\.py\)", "metrics"),
    (r"_written \(.*serving/onnx\.py\)|serving/writing\.py\)", "encode"),
    (r"serving/(tensors|reading)\.py\)|_answer_all\b.*serving/turns\.py\)", "tensor"),
    (r"_decode \(.*serving/onnx\.py\)", "decode"),
    (r"decode \(.*contract/typed\.py\)", "decode"),
    (r"encode \(.*contract/typed\.py\)", "encode"),
    (r"contract/(typed|violations|wire)\.py\)", "validation"),
    (r"serving/(responses|wrapper)\.py\)", "validation"),
    (r"hold \(.*serving/app\.py\)", "validation"),
    (r"serving/(metrics|predictions|logs)\.py\)", "metrics"),
    (r"serinus/serving/(server|__main__)\.py\)", "server"),
    (r"serinus/serving/\w+\.py\)", "routing"),
    (r"\((granian|asyncio)/|\((selectors|threading)\.py\)|<frozen runpy>", "server"),
)
EXCHANGE = "the exchange (granian/rsgi)"
"""Stands in a stack for Granian's code that brings the body of a request and takes its answer."""
_EXCHANGES = re.compile(r"\bawait (exchange|protocol)\(\)|\b(exchange|protocol)\.response_bytes\(")
SOURCES = (ROOT / "src", HERE / "apps")
WAITS = re.compile(
    r"^EpollSelector\.select \(|^Pool\._work \(|^serve \(.*server\.py\)|^Runner\.run \(asyncio/"
    r"|^BaseSelectorEventLoop\._write_to_self \("
)
"""Functions in which a thread waits, for work or for Python's lock: a look may have found it asleep."""
_PLACE = re.compile(r" \((.+):(\d+)\)$")
_FILE = re.compile(r"\(([\w.]+?)(?:\.py\)|/)")
_OUTER = re.compile(
    r"serinus/serving/(server|__main__)\.py\)|<frozen runpy>|^<module>|^MainThread|\(asyncio/runners"
)
"""Functions that are around every request, and say nothing in a picture of it."""
_THREAD = re.compile(r"^thread \((\d+)\)(?:: (.*))?$")

Stacks = dict[tuple[str, ...], int]
"""Functions, the outermost first -> in how many looks."""
Times = Mapping[tuple[str, ...], float]
"""The same -> microseconds of processor time a request."""
COLOURS = {
    "server": "#b9c6d3",
    "routing": "#8fb8de",
    "decode": "#a5d6a7",
    "validation": "#f2c14e",
    "tensor": "#c5e1a5",
    "run": "#ef8354",
    "encode": "#b39ddb",
    "metrics": "#e3a6c4",
    "other": "#dddddd",
    NATIVE: "#cfd8dc",
}
BEGIN, END = "<!-- layers: made by bench/serving/layers.py -->", "<!-- layers: end -->"


@dataclass(frozen=True)
class Profile:
    """What was found about a service under load: microseconds of processor time a request."""

    rate: float
    """Answers a second without py-spy."""
    times: Times

    @property
    def layers(self) -> dict[str, float]:
        """Time in each layer."""
        found = dict.fromkeys((*LAYERS, NATIVE), 0.0)
        for stack, microseconds in self.times.items():
            found[layer_of(stack)] += microseconds
        return found

    @property
    def functions(self) -> dict[str, float]:
        """Time in each function itself, the most first."""
        found: Counter[str] = Counter()
        for stack, microseconds in self.times.items():
            found[stack[-1]] += microseconds  # type: ignore[assignment]  # typeshed has whole numbers
        return dict(found.most_common(30))


def layer(function: str) -> str | None:
    """The layer of a function; None when no rule knows it, as of what belongs to Python itself.

    >>> layer("hold (serinus/serving/app.py)")
    'validation'
    """
    for pattern, name in RULES:
        if found := re.search(pattern, function):
            return found[1] if name == "=" else name
    place = _FILE.search(function)
    standard = place is None or place[1] in sys.stdlib_module_names
    # What is left is the project's own code and what it calls.
    return None if standard or not function.endswith(".py)") else "run"


def layer_of(stack: Sequence[str]) -> str:
    """The layer of a stack: that of the innermost function that has one."""
    if tuple(stack) == (NATIVE,):
        return NATIVE
    return next(filter(None, map(layer, reversed(stack))), "other")


def read(lines: Iterable[str]) -> dict[int, Stacks]:
    """Thread -> its stacks, from py-spy's raw format: frames with ``;`` between, and a count."""
    found: dict[int, Stacks] = {}
    for line in lines:
        text, _, count = line.rstrip().rpartition(" ")
        thread, *frames = text.split(";")
        if (named := _THREAD.match(thread)) is None:
            continue
        stacks = found.setdefault(int(named[1]), {})
        stack = tuple(_PLACE.sub(r" (\1)", frame) for frame in frames)
        stack += (EXCHANGE,) if frames and exchanges(frames[-1]) else ()
        stacks[stack] = stacks.get(stack, 0) + int(count)
    return found


def exchanges(frame: str) -> bool:
    """Whether a function with its place stands at a line that calls Granian for the body or the answer."""
    place = _PLACE.search(frame)
    if place is None:
        return False
    lines = _lines(place[1])
    number = int(place[2])
    return 0 < number <= len(lines) and bool(_EXCHANGES.search(lines[number - 1]))


@cache
def _lines(file: str) -> list[str]:
    """The lines of a source file of ours, by the end of its path."""
    found = [path for folder in SOURCES if (path := folder / file).is_file()]
    return found[0].read_text().splitlines() if found else []


def awake(stacks: Stacks, busy: float) -> Stacks:
    """The stacks without the looks at a sleeping thread.

    Args:
        stacks: of one thread.
        busy: the share of the time in which it ran, as the kernel has counted it; where it slept the rest of
            the time, it did so in the functions that wait.
    """
    waiting = {stack: count for stack, count in stacks.items() if stack and WAITS.search(stack[-1])}
    total, waits = sum(stacks.values()), sum(waiting.values())
    kept = 1 - min(waits, round(total * (1 - min(1.0, busy)))) / waits if waits else 1.0
    return {stack: round(count * kept) if stack in waiting else count for stack, count in stacks.items()}


def dealt(stacks: Stacks, microseconds: float) -> Times:
    """The processor time of a thread, dealt to its stacks."""
    total = sum(stacks.values())
    return {stack or (NATIVE,): microseconds * count / total for stack, count in stacks.items() if count}


# ---------------------------------------------------------------------------------------------- looking


def service(name: str) -> Service:
    """The service of this name, built."""
    tasks = {"small": small, "typed": typed, "sentences": sentences, "glad": glad}
    return serinus(tasks[name.partition("-")[0]](), name)


def profile(own: Service, connections: int, seconds: float) -> Profile:
    """Look at a service under load.

    Raises:
        CannotMeasureError: py-spy may not look, or an answer was bad.
    """
    cores = layout(2)
    bodies = own.bodies if own.task.name == "sentences" else own.bodies[:1]
    raw = CACHE / "stacks.txt"
    with own.run(cores.service) as started:
        pid = server(started.pids(own.without))
        wrk(started.port, own.path, bodies, connections, 1.0, cores.load)
        alone = wrk(started.port, own.path, bodies, connections, seconds, cores.load)
        before = threads(pid)
        with _spy(pid, raw, seconds) as spy:
            seen = wrk(started.port, own.path, bodies, connections, seconds, cores.load)
            spent = {number: now - before.get(number, 0.0) for number, now in threads(pid).items()}
            said, _ = spy.communicate(timeout=60)
        if spy.returncode or seen.bad or alone.bad:
            raise CannotMeasureError(f"{own.name}: {alone.bad + seen.bad} bad answers; py-spy: {said}")
        looks = {_inside(pid, number): cpu for number, cpu in spent.items()}
    stacks = read(raw.read_text().splitlines())
    return Profile(alone.rate, times(stacks, looks, seen.requests, seconds))


def times(
    stacks: Mapping[int, Stacks], spent: Mapping[int, float], requests: int, seconds: float
) -> dict[tuple[str, ...], float]:
    """The processor time of all threads for one request.

    Args:
        stacks: of each thread with Python.
        spent: seconds of processor time of every thread, as the kernel counts.
        requests: that were answered meanwhile.
        seconds: how long that took.
    """
    found: dict[tuple[str, ...], float] = {}
    for thread, cpu in spent.items():
        looks = stacks.get(thread, {(): 1})
        own = awake(looks, cpu / seconds)
        own = own if any(own.values()) else looks  # seen asleep alone, and yet it worked
        for stack, microseconds in dealt(own, cpu / requests * 1e6).items():
            found[stack] = found.get(stack, 0.0) + microseconds
    return found


def server(pids: Iterable[int]) -> int:
    """The process among these that is the server itself.

    Raises:
        CannotMeasureError: none is.
    """
    for pid in pids:
        words = command_line(pid)
        # bubblewrap's own command line holds the server's too
        if re.search(r"serinus\.serving|granian_layers", words) and not words.split(" ", 1)[0].endswith(
            "bwrap"
        ):
            return pid
    raise CannotMeasureError("there is no server among the processes of the replica")


def _inside(pid: int, thread: int) -> int:
    """What a thread is called in its own process namespace, as py-spy has it (``proc(5)``, ``NSpid``)."""
    lines = Path(f"/proc/{pid}/task/{thread}/status").read_text().splitlines()
    found = [line for line in lines if line.startswith("NSpid:")]
    return int(found[0].split()[-1]) if found else thread


def _spy(pid: int, file: Path, seconds: float) -> subprocess.Popen[str]:
    words = [program("tools", "py-spy"), "record", "--pid", str(pid), "--rate", str(LOOKS), "--format", "raw"]
    words += ["--duration", str(max(1, round(seconds))), "--output", str(file), "--nonblocking", "--threads"]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def picture(found: Profile, title: str) -> str:
    """The flame graph of a request, without what is around every request."""
    shown: dict[tuple[str, ...], float] = {}
    for stack, microseconds in found.times.items():
        inner = tuple(dropwhile(_OUTER.search, stack)) or ("event loop and its callbacks (uvloop)",)
        shown[inner] = shown.get(inner, 0.0) + microseconds
    used = {name: COLOURS[name] for name, value in found.layers.items() if value}
    return draw(shown, title, lambda path: COLOURS[_shade(path)], used)


def _shade(path: tuple[str, ...]) -> str:
    return "server" if path[0].startswith("event loop") else layer_of(path)


def table(found: Mapping[str, Profile]) -> Table:
    """The layers of each service, and the share of the first."""
    first, *_ = found.values()
    whole = sum(first.layers.values())
    columns = [one.layers for one in found.values()]
    rows: list[tuple[object, ...]] = []
    for name, value in first.layers.items():
        others = [column[name] or "-" for column in columns[1:]]
        rows.append((name, value or "-", value / whole * 100 if value else "-", *others))
    rows.append(("all", whole, 100.0, *(sum(column.values()) for column in columns[1:])))
    own, *peers = found
    return Table(("layer", f"{own}, µs a request", "%", *(f"{peer}, µs" for peer in peers)), rows)


def written(page: str, text: str) -> str:
    """The page with a text between the two comments that mark its place.

    Raises:
        CannotMeasureError: the page has no such place.
    """
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise CannotMeasureError(f"the page has no {BEGIN} followed by {END}")
    return f"{before}{BEGIN}\n\n{text}\n\n{END}{after}"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = ("small", "typed-def", "typed-async", "sentences", "glad")
    parser.add_argument("service", nargs="?", default="small", choices=names)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--svg", type=Path, help="the flame graph; by default in .cache/bench/serving")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    parser.add_argument("--markdown", type=Path, help="the page of the documentation to write the table into")
    return parser.parse_args()


def main() -> int:
    given = arguments()
    svg = given.svg or CACHE / f"{given.service}.svg"
    try:
        install(("tools", "granian"))
        own = service(given.service)
        found = {own.name: profile(own, given.connections, given.seconds)}
        if given.service == "small":
            bare = bare_layers(own.task)
            found[bare.name] = profile(bare, given.connections, given.seconds)
        ours, shown = found[own.name], table(found)
        load = f"{given.service}, {given.connections} connections"
        note = f"{load}; {machine()['processor']}; {layout(2)}; without a profiler "
        note += ", ".join(f"{name} {one.rate:,.0f} answers/s" for name, one in found.items())
        svg.write_text(picture(ours, f"{load}: microseconds of processor time a request"))
        if given.markdown:
            given.markdown.write_text(written(given.markdown.read_text(), f"{shown}\n\n{note}."))
    except CannotMeasureError as error:
        print(f"cannot measure: {error}", file=sys.stderr)
        return 2
    print(shown)
    print("", Table(("the function itself", "µs a request"), list(ours.functions.items())), sep="\n")
    print(f"\n{note}; flame graph: {svg}")
    if given.json:
        figures = {name: {"rate": one.rate, "layers": one.layers} for name, one in found.items()}
        figures[own.name]["functions"] = ours.functions
        given.json.write_text(json.dumps({"machine": machine()} | figures, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
