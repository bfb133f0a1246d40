"""Where the time of a request goes: microseconds of each layer, and a flame graph.

    python bench/serving/layers.py [small|typed-def|typed-async|sentences|glad] [--connections 64]
        [--seconds 8] [--svg FILE] [--json FILE]

The packaged service runs in the sandbox under wrk, and py-spy looks 500 times a second where its Python
threads are (it needs root, or the permission to trace). Each look is dealt to a layer by the innermost
function that has one (:data:`RULES`), and scaled to the processor time that the kernel has counted for the
thread. Threads without Python are Granian's, which read, parse and write HTTP, and the model runtime's.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from load import wrk
from peers import Service, install, program, serinus
from report import Table, machine
from stand import CACHE, CannotMeasureError, command_line, layout, threads
from tasks import glad, sentences, small, typed

LOOKS = 500
"""A second."""
LAYERS = ("server", "routing", "decode", "validation", "tensor", "run", "encode", "metrics", "other")
NATIVE = "threads without Python"
RULES: tuple[tuple[str, str], ...] = (
    # A function as py-spy shows it, "name (path/file.py)" -> its layer; the first that fits counts.
    (r"^_runner\b.*serving/onnx\.py\)", "run"),
    (r"\(onnxruntime/", "run"),
    (r"^(encode|check_finite|_infinite|_plain|_writable)\b.*serving/tensors\.py\)", "encode"),
    (r"serving/tensors\.py\)", "tensor"),
    (r"_decode \(.*serving/onnx\.py\)", "decode"),
    (r"decode \(.*contract/typed\.py\)", "decode"),
    (r"^body \(.*serving/rsgi\.py\)", "decode"),
    (r"encode \(.*contract/typed\.py\)", "encode"),
    (r"contract/(typed|violations|wire)\.py\)", "validation"),
    (r"serving/(responses|wrapper)\.py\)", "validation"),
    (r"hold \(.*serving/app\.py\)", "validation"),
    (r"serving/(metrics|predictions|logs)\.py\)", "metrics"),
    (r"serinus/serving/(server|__main__)\.py\)", "server"),
    (r"serinus/serving/\w+\.py\)", "routing"),
    (r"\((granian|asyncio)/|\((selectors|threading)\.py\)|<frozen runpy>", "server"),
    # The project's own code and what it calls.
    (r"\.py\)", "run"),
)
WAITS = re.compile(
    r"^EpollSelector\.select \(|^Pool\._work \(|^serve \(.*server\.py\)"
    r"|^BaseSelectorEventLoop\._write_to_self \("
)
"""Functions in which a thread waits, for work or for Python's lock: a look may have found it asleep."""
_LINE = re.compile(r":\d+\)$")
_THREAD = re.compile(r"^thread \((\d+)\)(?:: (.*))?$")

Stacks = dict[tuple[str, ...], int]
"""Functions, the outermost first -> in how many looks."""


@dataclass(frozen=True)
class Profile:
    """What was found about a service under load: microseconds of processor time a request."""

    rate: float
    """Answers a second without py-spy."""
    layers: Mapping[str, float]
    functions: Mapping[str, float]
    """Time in each function itself."""


def layer(function: str) -> str | None:
    """The layer of a function; None when no rule knows it.

    >>> layer("Router.hold (serinus/serving/app.py)")
    'validation'
    """
    return next((name for pattern, name in RULES if re.search(pattern, function)), None)


def read(lines: Iterable[str]) -> dict[int, Stacks]:
    """Thread -> its stacks, from py-spy's raw format: frames with ``;`` between, and a count."""
    found: dict[int, Stacks] = {}
    for line in lines:
        text, _, count = line.rstrip().rpartition(" ")
        thread, *frames = text.split(";")
        if (named := _THREAD.match(thread)) is None:
            continue
        stacks = found.setdefault(int(named[1]), {})
        stack = tuple(_LINE.sub(")", frame) for frame in frames)
        stacks[stack] = stacks.get(stack, 0) + int(count)
    return found


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


def dealt(stacks: Stacks, seconds: float) -> tuple[Counter[str], Counter[str]]:
    """The processor time of a thread, by layer and by innermost function."""
    layers: Counter[str] = Counter()
    functions: Counter[str] = Counter()
    total = sum(stacks.values())
    for stack, count in stacks.items():
        share = seconds * count / total if total else 0.0
        found = next(filter(None, map(layer, reversed(stack))), "other") if stack else NATIVE
        layers[found] += share  # type: ignore[assignment]  # typeshed has counts as whole numbers
        functions[stack[-1] if stack else NATIVE] += share  # type: ignore[assignment]
    return layers, functions


# ---------------------------------------------------------------------------------------------- looking


def service(name: str) -> Service:
    """The service of this name, built."""
    tasks = {"small": small, "typed": typed, "sentences": sentences, "glad": glad}
    return serinus(tasks[name.partition("-")[0]](), name)


def profile(name: str, connections: int, seconds: float, svg: Path) -> Profile:
    """Look at a service under load, and draw a flame graph.

    Raises:
        CannotMeasureError: py-spy may not look, or an answer was bad.
    """
    own, cores = service(name), layout(2)
    bodies = own.bodies if own.task.name == "sentences" else own.bodies[:1]
    raw = CACHE / "stacks.txt"
    with own.run(cores.service) as started:
        pid = server(started.pids(own.without))
        wrk(started.port, own.path, bodies, connections, 1.0, cores.load)
        alone = wrk(started.port, own.path, bodies, connections, seconds, cores.load)
        looks = {}
        for form, file in (("flamegraph", svg), ("raw", raw)):
            before = threads(pid)
            with _spy(pid, form, file, seconds) as spy:
                seen = wrk(started.port, own.path, bodies, connections, seconds, cores.load)
                spent = {number: now - before.get(number, 0.0) for number, now in threads(pid).items()}
                said, _ = spy.communicate(timeout=60)
            if spy.returncode or seen.bad or alone.bad:
                raise CannotMeasureError(f"{name}: {alone.bad + seen.bad} bad answers; py-spy: {said}")
            looks = {_inside(pid, number): cpu for number, cpu in spent.items()}
    return _profile(alone.rate, read(raw.read_text().splitlines()), looks, seen.requests, seconds)


def _profile(
    rate: float, stacks: Mapping[int, Stacks], spent: Mapping[int, float], requests: int, seconds: float
) -> Profile:
    layers: Counter[str] = Counter(dict.fromkeys((*LAYERS, NATIVE), 0))
    functions: Counter[str] = Counter()
    for thread, cpu in spent.items():
        own = awake(stacks.get(thread, {(): 1}), cpu / seconds)
        for total, part in zip((layers, functions), dealt(own, cpu / requests * 1e6), strict=True):
            total.update(part)
    return Profile(rate, layers, dict(functions.most_common(30)))


def server(pids: Iterable[int]) -> int:
    """The process among these that is the server itself.

    Raises:
        CannotMeasureError: none is.
    """
    for pid in pids:
        words = command_line(pid)
        # bubblewrap's own command line holds the server's too
        if "serinus.serving" in words and not words.split(" ", 1)[0].endswith("bwrap"):
            return pid
    raise CannotMeasureError("there is no server among the processes of the replica")


def _inside(pid: int, thread: int) -> int:
    """What a thread is called in its own process namespace, as py-spy has it (``proc(5)``, ``NSpid``)."""
    lines = Path(f"/proc/{pid}/task/{thread}/status").read_text().splitlines()
    found = [line for line in lines if line.startswith("NSpid:")]
    return int(found[0].split()[-1]) if found else thread


def _spy(pid: int, form: str, file: Path, seconds: float) -> subprocess.Popen[str]:
    words = [program("tools", "py-spy"), "record", "--pid", str(pid), "--rate", str(LOOKS), "--format", form]
    words += ["--duration", str(max(1, round(seconds))), "--output", str(file), "--nonblocking"]
    words += ["--threads"] if form == "raw" else []
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = ("small", "typed-def", "typed-async", "sentences", "glad")
    parser.add_argument("service", nargs="?", default="small", choices=names)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--svg", type=Path, help="the flame graph; by default in .cache/bench/serving")
    parser.add_argument("--json", type=Path, help="write the figures there too")
    given = parser.parse_args()
    svg = given.svg or CACHE / f"{given.service}.svg"
    try:
        install(("tools",))
        found = profile(given.service, given.connections, given.seconds, svg)
    except CannotMeasureError as error:
        print(f"cannot measure: {error}", file=sys.stderr)
        return 2
    whole = sum(found.layers.values())
    rows = [(name, value, value / whole * 100) for name, value in found.layers.items()]
    heads = (f"{given.service}, {given.connections} connections", "µs a request", "%")
    print(Table(heads, [*rows, ("all", whole, 100.0)]))
    print("", Table(("the function itself", "µs a request"), list(found.functions.items())), sep="\n")
    print(f"\n{found.rate:,.0f} answers/s without py-spy; {layout(2)}; flame graph: {svg}")
    if given.json:
        figures = {"machine": machine(), "layers": found.layers, "functions": found.functions}
        given.json.write_text(json.dumps(figures, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
