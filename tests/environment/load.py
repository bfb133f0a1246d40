"""A load generator outside of the program: so many requests a second on kept connections, each judged.

    python load.py PORT RATE [--header NAME:VALUE] [--users N] [--bodies FILE]

It asks until its standard input is closed, and then prints one JSON document: how many answers of which kind,
by whom, and when the last one of each version came. Requests are sent at their own times, whether the ones
before them have been answered or not, as callers do. The lines of FILE are asked in turns, if there is one.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

BODY = json.dumps(["a great day"]).encode()


class Seen:
    """What callers saw."""

    def __init__(self) -> None:
        self.asked = 0
        self.resent = 0
        """Requests that met the end of a kept connection, and were sent again on a new one."""
        self.answers: Counter[str] = Counter()
        """``ok``, or what was wrong."""
        self.versions: Counter[str] = Counter()
        self.last: dict[str, float] = {}
        self.first: dict[str, float] = {}
        self.seconds: list[float] = []
        self.users: dict[str, list[str]] = {}

    def note(self, what: str, version: str, seconds: float, user: str) -> None:
        self.answers[what] += 1
        self.versions[version] += 1
        self.last[version] = time.time()
        self.first.setdefault(version, time.time())
        self.seconds.append(seconds)
        if user:
            versions = self.users.setdefault(user, [])
            if versions[-1:] != [version]:
                versions.append(version)

    def document(self) -> dict[str, Any]:
        ordered = sorted(self.seconds)

        def at(q: float) -> float:
            return ordered[int(q * (len(ordered) - 1))] if ordered else 0.0

        return {
            "asked": self.asked,
            "resent": self.resent,
            "answers": dict(self.answers),
            "versions": dict(self.versions),
            "first": self.first,
            "last": self.last,
            "seconds": {"p50": at(0.5), "p99": at(0.99), "max": at(1.0)},
            "users": self.users,
        }


def judge(status: int, body: bytes) -> str:
    """What a caller makes of an answer."""
    if not 200 <= status < 300:
        return f"status {status}"
    try:
        document = json.loads(body)
    except ValueError:
        return "no JSON"
    judgements = document if isinstance(document, list) and document else [document]
    return "ok" if all(map(kept, judgements)) else "broken contract"


def kept(judgement: Any) -> bool:
    """Whether a judgement is what the contracts of the tests' services promise."""
    if not isinstance(judgement, dict) or not isinstance(judgement.get("positive"), bool):
        return False
    return 0 <= judgement.get("probability", 0) <= 1


async def exchange(
    streams: tuple[asyncio.StreamReader, asyncio.StreamWriter], headers: str, body: bytes
) -> tuple[int, dict[str, str], bytes]:
    reader, writer = streams
    writer.write(
        f"POST /predict HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n{headers}"
        f"content-length: {len(body)}\r\n\r\n".encode()
        + body
    )
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    fields = dict(line.lower().split(": ", 1) for line in head[1:] if ": " in line)
    if fields.get("transfer-encoding") == "chunked":
        body = b""
        while size := int((await reader.readuntil(b"\r\n")).strip(), 16):
            body += (await reader.readexactly(size + 2))[:-2]
        await reader.readexactly(2)
    else:
        body = await reader.readexactly(int(fields.get("content-length", "0")))
    return int(head[0].split()[1]), fields, body


class Load:
    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.seen = Seen()
        self.idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self.number = 0
        self.bodies = options.bodies.read_bytes().splitlines() if options.bodies else [BODY]

    async def one(self) -> None:
        """Ask once; a kept connection that was closed between two requests is asked anew, and counted."""
        self.number += 1
        user = f"user-{self.number % self.options.users}" if self.options.users else ""
        headers = f"x-user: {user}\r\n" if user else ""
        if self.options.header:
            headers += self.options.header.replace(":", ": ", 1) + "\r\n"
        begin = time.monotonic()
        if self.idle:
            if await self.on(self.idle.pop(), headers, user, begin):
                return
            self.seen.resent += 1
        try:
            streams = await asyncio.open_connection("127.0.0.1", self.options.port)
        except OSError as error:
            self.seen.note(f"no connection: {error}", "", time.monotonic() - begin, "")
            return
        if not await self.on(streams, headers, user, begin):
            self.seen.note("no answer", "", time.monotonic() - begin, "")

    async def on(
        self,
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        headers: str,
        user: str,
        begin: float,
    ) -> bool:
        """Ask on a connection; whether there was an answer."""
        try:
            async with asyncio.timeout(60):
                asked = self.bodies[self.number % len(self.bodies)]
                status, fields, body = await exchange(streams, headers, asked)
        except (OSError, asyncio.IncompleteReadError, TimeoutError, ValueError):
            streams[1].close()
            return False
        if fields.get("connection") == "close":
            streams[1].close()
        else:
            self.idle.append(streams)
        version = fields.get("serinus-version", "")
        self.seen.note(judge(status, body), version, time.monotonic() - begin, user)
        return True

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        over = loop.run_in_executor(None, sys.stdin.read)
        begin, tasks = loop.time(), set[asyncio.Task[None]]()
        while not over.done():
            due = int((loop.time() - begin) * self.options.rate)
            while self.seen.asked < due:
                self.seen.asked += 1
                task = loop.create_task(self.one())
                tasks.add(task)
                task.add_done_callback(tasks.discard)
            await asyncio.sleep(0.002)
        if tasks:
            await asyncio.wait(tasks, timeout=65)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("rate", type=float)
    parser.add_argument("--header", default="")
    parser.add_argument("--users", type=int, default=0)
    parser.add_argument("--bodies", type=Path)
    load = Load(parser.parse_args())
    asyncio.run(load.run())
    sys.stdout.write(json.dumps(load.seen.document()) + "\n")


if __name__ == "__main__":
    main()
