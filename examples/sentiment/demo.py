"""The main job on real input, with the commands that a user would type: run by `make demo`.

Train and register, build, publish to an OCI layout, run that image in the sandbox, ask it three sentences.
"""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PUBLISHED = HERE / ".cache" / "published"
SENTENCES = (
    "One of the most moving films of the year.",
    "The battery died after two days.",
    "MLOps is critical for robustness",
)


def main() -> None:
    begin = time.perf_counter()
    timed("train", ["serinus", "run", "train", "-p", "ask=false", "--json"])
    built = timed("build", ["serinus", "build", "--json"])
    reference = f"oci:{PUBLISHED.relative_to(HERE)}:1"
    timed("publish", ["serinus", "publish", reference, "--json"])
    answers = ask(reference)
    print()
    for sentence, answer in zip(SENTENCES, answers, strict=True):
        print(f"  {json.dumps(answer)}  {sentence}")
    print(
        f"\n{built['digest']}\n{built['size'] / 1e6:.1f} MB in {len(built['layers'])} layers, at {reference}"
    )
    print(f"{time.perf_counter() - begin:.1f} s in all. Next: cd examples/sentiment && serinus serve")


def timed(step: str, command: list[str]) -> Any:
    """Run one command of the demo; its JSON, if it printed some."""
    begin = time.perf_counter()
    if command[0] == "serinus":
        command = [sys.executable, "-m", *command]
    done = subprocess.run(command, cwd=HERE, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        print(done.stdout, file=sys.stderr)
        raise SystemExit(f"{step} failed with exit code {done.returncode}")
    seconds = time.perf_counter() - begin
    say(step, "" if "--json" in command else done.stdout.strip(), seconds)
    return json.loads(done.stdout) if "--json" in command else None


def say(step: str, detail: str, seconds: float) -> None:
    print(f"{step:<10}{seconds:6.2f} s  {detail}".rstrip(), flush=True)


def ask(reference: str) -> list[Any]:
    """Run the published image in the sandbox until it is ready, ask it, and stop it."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    begin = time.perf_counter()
    command = [sys.executable, "-m", "serinus", "serve", "--image", reference, "--port", str(port), "--json"]
    server = subprocess.Popen(command, cwd=HERE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        line = server.stdout.readline() if server.stdout else ""
        if not line:
            raise SystemExit(f"the image did not become ready:\n{server.communicate()[1]}")
        say("start", "ready, its examples answered rightly", time.perf_counter() - begin)
        begin = time.perf_counter()
        answers = [post(f"http://127.0.0.1:{port}/predict", [sentence])[0] for sentence in SENTENCES]
        say("ask", f"{len(answers)} sentences", time.perf_counter() - begin)
        return answers
    finally:
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=60)


def post(url: str, document: object) -> Any:
    request = urllib.request.Request(url, json.dumps(document).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.load(response)


if __name__ == "__main__":
    main()
