"""Load: wrk, which asks again as soon as it is answered; and an open load, which asks by the clock.

wrk never asks for more than is answered, so it finds how much a service can do and says nothing of a service
that is asked for more, or of how long callers wait who come by the clock: that is for :func:`open_load`.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from stand import CACHE, HERE, HOST, CannotMeasureError, clean_environment

_BODIES = """local bodies = {%s}
local requests, at = {}, 0
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
if #bodies == 1 then
  wrk.body = bodies[1]
else
  function init(args)
    for i, body in ipairs(bodies) do requests[i] = wrk.format(nil, nil, nil, body) end
  end
  function request()
    at = at %% #requests + 1
    return requests[at]
  end
end
"""
_DONE = """function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    'JSON{"requests": %d, "us": %d, "p50": %f, "p99": %f, "status": %d, "broken": %d}\\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), errors.status,
    errors.connect + errors.read + errors.write + errors.timeout))
end
"""


@dataclass(frozen=True)
class Closed:
    """What wrk found. Times are seconds."""

    rate: float
    """Answers a second."""
    p50: float
    p99: float
    bad: int
    """Answers that were not 2xx or 3xx, and connections that broke."""
    requests: int


def wrk(  # noqa: PLR0917
    port: int, path: str, bodies: Sequence[bytes], connections: int, seconds: float, cores: Sequence[int]
) -> Closed:
    """One run of wrk, in one thread, on these cores; the bodies are sent in turns.

    Raises:
        CannotMeasureError: there is no wrk, or it ended with an error.
    """
    if shutil.which("wrk") is None:
        raise CannotMeasureError("there is no wrk: apt-get install wrk")
    script = CACHE / "load.lua"
    script.parent.mkdir(parents=True, exist_ok=True)
    script.write_text(_BODIES % ",\n".join(_lua(body) for body in bodies) + _DONE)
    command = ["taskset", "-c", ",".join(map(str, cores)), "wrk", "-t1", f"-c{connections}"]
    command += [f"-d{max(1, round(seconds))}s", "--timeout", "30s", "-s", str(script)]
    command.append(f"http://{HOST}:{port}{path}")
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=seconds + 90)
    _, mark, text = done.stdout.rpartition("JSON")
    if done.returncode or not mark:
        raise CannotMeasureError(f"{' '.join(command)}: {done.stdout}{done.stderr}")
    found: dict[str, Any] = json.loads(text)
    return Closed(
        rate=(found["requests"] - found["status"]) / found["us"] * 1e6,
        p50=found["p50"] / 1e6,
        p99=found["p99"] / 1e6,
        bad=int(found["status"] + found["broken"]),
        requests=int(found["requests"]),
    )


def _lua(body: bytes) -> str:
    """A string of Lua: every byte but plain ASCII as a decimal escape."""
    plain = (
        chr(byte)
        if 32 <= byte < 127 and byte not in (34, 92)
        else f"\\{byte:03d}"  # the quote, the backslash
        for byte in body
    )
    return f'"{"".join(plain)}"'


# ---------------------------------------------------------------------------------------------- by the clock


@dataclass(frozen=True)
class Phase:
    """So many requests a second for so long; the figures of a phase are those of the requests due in it."""

    name: str
    rate: float
    seconds: float


@dataclass(frozen=True)
class Plan:
    """An open load. Given to ``open_load.py`` as JSON."""

    port: int
    path: str
    bodies: tuple[str, ...]
    phases: tuple[Phase, ...]
    connections: int
    """Requests that may be under way; one that is due while all are waits, and its waiting counts."""
    random: bool
    """Exponential times between requests (Poisson arrivals) instead of equal ones."""
    patience: float = 0.5
    """Seconds after which a request that waits for a connection is given up, and counts as not answered."""
    seed: int = 1


@dataclass(frozen=True)
class Open:
    """What became of the requests of one phase. Times are seconds, from when a request was due."""

    name: str
    asked: int
    answers: dict[str, int]
    """Status -> how many; ``none`` where the connection broke, ``bare`` for a 503 without Retry-After."""
    begin: float
    """When the first was due, by :func:`time.monotonic`."""
    seconds: float
    """From the first due to the last due."""
    p50: float
    """Of answers with 200."""
    p99: float
    refused_p99: float
    """Of 503, from when the request was sent."""
    refused_max: float
    late_p99: float
    """From due to sent: how far the generator was behind, or waited for a connection."""
    slices: list[dict[str, float]] = field(default_factory=list)
    """Quarters of a second: when it began, how many were due, how many were answered 200 and their p99."""

    @property
    def good(self) -> float:
        """Answers with 200 a second."""
        return self.answers.get("200", 0) / self.seconds if self.seconds else 0.0


def open_load(plan: Plan, cores: Sequence[int]) -> dict[str, Open]:
    """Run an open load to its end; the figures of each phase by its name.

    Raises:
        CannotMeasureError: it ended with an error.
    """
    with started(plan, cores) as process:
        return finished(process)


def started(plan: Plan, cores: Sequence[int]) -> subprocess.Popen[str]:
    """Start an open load; :func:`finished` waits for it."""
    program = CACHE / "venvs" / "tools" / "bin" / "python"
    process = subprocess.Popen(
        ["taskset", "-c", ",".join(map(str, cores)), str(program), str(HERE / "open_load.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=clean_environment(),
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(asdict(plan)))
    process.stdin.close()
    return process


def finished(process: subprocess.Popen[str]) -> dict[str, Open]:
    """Wait for an open load; the figures of each phase by its name.

    Raises:
        CannotMeasureError: it ended with an error.
    """
    assert process.stdout is not None
    text = process.stdout.read()
    if process.wait():
        raise CannotMeasureError(f"the open load ended with {process.returncode}: {text[-500:]}")
    return {one["name"]: Open(**one) for one in json.loads(text)}
