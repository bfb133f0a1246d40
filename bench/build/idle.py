"""What a replica costs that does nothing: the import of the serving path, and memory."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.request
from functools import partial
from pathlib import Path

from tools import CannotMeasureError, Environment, Sample, run, serinus, timed
from wire import free_port
from workload import NAME

_IMPORT = "import serinus.serving.server, serinus.serving.app"


def import_time(runs: int) -> dict[str, Sample]:
    """Seconds to start Python, and Python with the serving path imported."""
    samples = {}
    for name, code in (("python alone", "pass"), ("python and the serving path", _IMPORT)):
        run([sys.executable, "-I", "-c", code])  # once, so that all is compiled
        command = [sys.executable, "-I", "-c", code]
        samples[name] = Sample(tuple(timed(partial(run, command)) for _ in range(runs)))
    return samples


def memory(project: Path, env: Environment) -> dict[str, float]:
    """Memory of the built image's replica in the sandbox, in MiB: resident, and its share of shared pages.

    Raises:
        CannotMeasureError: it does not become ready within a minute.
    """
    port = free_port()
    command = [serinus(), "serve", "--image", f"{NAME}:latest", "--runtime", "sandbox", "--port", str(port)]
    with subprocess.Popen(
        [str(word) for word in command],
        cwd=project,
        env={**os.environ, **env},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            _wait_ready(port)
            time.sleep(1)
            pids = [pid for pid in _descendants(process.pid) if "serinus.serving" in _command(pid)]
            return {
                "processes": float(len(pids)),
                "resident": sum(_kib(pid, "Rss") for pid in pids) / 1024,
                "proportional": sum(_kib(pid, "Pss") for pid in pids) / 1024,
            }
        finally:
            process.terminate()


def _wait_ready(port: int) -> None:
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5):
                return
        except OSError:
            time.sleep(0.1)
    raise CannotMeasureError("the replica is not ready after 60 s")


def _descendants(pid: int) -> list[int]:
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                text = (entry / "stat").read_text()
            except OSError:
                continue
            parents.setdefault(int(text.rpartition(")")[2].split()[1]), []).append(int(entry.name))
    found, ahead = [], [pid]
    while ahead:
        children = parents.get(ahead.pop(), [])
        found += children
        ahead += children
    return found


def _command(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace").split("\0")
    except OSError:
        return ""
    # bubblewrap's own command line holds the service's too.
    return "" if words[0].endswith("bwrap") else " ".join(words)


def _kib(pid: int, member: str) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith(member + ":"):
            return int(line.split()[1])
    raise CannotMeasureError(f"/proc/{pid}/smaps_rollup has no {member}")
