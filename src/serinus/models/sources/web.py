"""``https://``: one file, streamed, resumed where the connection was cut, and known beforehand by its digest.

Follows RFC 9110: range requests (section 14) with ``If-Range`` (section 13.1.5), so that two versions of a
file are never joined. Who we are is said by ``~/.netrc``, to the host that it names alone.
"""

from __future__ import annotations

import hashlib
import random
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO
from urllib.parse import urlsplit

from serinus import __version__
from serinus.errors import ModelError, SourceUnavailable
from serinus.models import Found, Progress
from serinus.models.address import EXAMPLES
from serinus.models.archives import new_file
from serinus.models.forms import Web
from serinus.models.sources.failures import explained
from serinus.registry import retry
from serinus.registry.network import is_loopback

if TYPE_CHECKING:
    import httpx

_LOGIN = "Put user and password for the host into ~/.netrc, or name that file in NETRC."


class WebFile:
    """A file behind a URL.

    Args:
        address: with its digest.
        transport: carries the requests; None is the network.
        sleep: waits for seconds.
        attempts: tries without a byte of progress.
    """

    def __init__(
        self,
        address: Web,
        *,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
        attempts: int = retry.ATTEMPTS,
    ) -> None:
        self._address = address
        self._transport = transport
        self._sleep = sleep
        self._attempts = attempts
        self._what = f"the model {address.shown}"

    def find(self) -> Found:
        """What there is: nobody is asked, since the digest says it."""
        if not self._address.sha256:
            raise ModelError(
                f"{self._what} has no digest: what comes from the web must be known beforehand",
                f"Set model.digest, or write it behind the URL: {EXAMPLES['https']}.",
            )
        digest = f"sha256:{self._address.sha256}"
        return Found(f"{self._address.shown}#sha256={self._address.sha256}", digest, digest)

    def fetch(self, found: Found, folder: Path, progress: Progress) -> None:
        """Bring the file; every byte is verified."""
        failed = most = 0
        with self._client() as client, new_file(folder / self._address.name, False) as file:
            target = _Target(file)
            while True:
                try:
                    self._receive(client, target, progress)
                    break
                except SourceUnavailable:
                    failed = 1 if target.size > most else failed + 1
                    most = max(most, target.size)
                    seconds = retry.delay(failed, None, random.random(), self._attempts)  # noqa: S311
                    if seconds is None:
                        raise
                    self._sleep(seconds)
        if (came := f"sha256:{target.digest.hexdigest()}") != found.digest:
            raise ModelError(
                f"{self._what} is {came} ({target.size} bytes), expected {found.digest}",
                "Look whether the file was replaced; correct the digest only if you trust what is there now.",
            )

    def _receive(self, client: httpx.Client, target: _Target, progress: Progress) -> None:
        """What is missing of the file, or all of it where the server cannot go on, or has another by now."""
        resumed = (
            {"range": f"bytes={target.size}-", "if-range": target.mark} if target.size and target.mark else {}
        )
        with (
            explained(self._what, _LOGIN),
            client.stream("GET", self._address.url, headers=resumed) as response,
        ):
            response.raise_for_status()
            if response.status_code != 206:
                target.begin(_mark(response))
            elif _start(response) != target.size:
                raise ModelError(
                    f"{self._what} was asked for from byte {target.size}, and came with the Content-Range "
                    f"{response.headers.get('content-range')!r}",
                    "Run the command again; if it stays, the server is at fault.",
                )
            total = _total(response, target.size)
            for piece in response.iter_raw(1 << 20):
                target.write(piece)
                progress(target.size, total)

    def _client(self) -> httpx.Client:
        import httpx

        parts = urlsplit(self._address.url)
        return httpx.Client(
            transport=self._transport,
            auth=_netrc(),
            headers={"user-agent": f"serinus/{__version__}", "accept-encoding": "identity"},
            timeout=httpx.Timeout(10.0, read=60.0),
            trust_env=parts.scheme == "https" or not is_loopback(parts.netloc),
            follow_redirects=True,
            event_hooks={"request": [lambda request: _refuse_plain(request.url.scheme, request.url.host)]},
        )


class _Target:
    """A file on the way, hashed as it is written."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.begin("")

    def begin(self, mark: str) -> None:
        """Forget what came before; ``mark`` is the ETag of what comes now."""
        self.digest = hashlib.sha256()
        self.size = 0
        self.mark = mark
        self._file.seek(0)
        self._file.truncate()

    def write(self, data: bytes) -> None:
        self.digest.update(data)
        self.size += len(data)
        view = memoryview(data)
        while view:
            view = view[self._file.write(view) :]


def _netrc() -> httpx.NetRCAuth | None:
    import netrc
    import os

    import httpx

    file = Path(os.environ.get("NETRC") or Path.home() / ".netrc")
    if not file.is_file():
        return None
    try:
        return httpx.NetRCAuth(str(file))
    except (netrc.NetrcParseError, OSError, UnicodeDecodeError) as error:
        raise ModelError(f"{file} cannot be read: {error}", "Correct it, or move it away.") from None


def _refuse_plain(scheme: str, host: str) -> None:
    if scheme != "https" and not is_loopback(host):
        raise ModelError(
            f"{host} was to be asked over {scheme}, to where the model's URL redirects; expected https",
            "Name the place where the model is now in model.source.",
        )


def _mark(response: httpx.Response) -> str:
    """A strong ETag, by which the rest of the same file can be asked for; empty without one."""
    tag = str(response.headers.get("etag", ""))
    return tag if tag.startswith('"') else ""


def _start(response: httpx.Response) -> int:
    match = re.match(r"bytes (\d+)-", response.headers.get("content-range", ""))
    return int(match[1]) if match else -1


def _total(response: httpx.Response, done: int) -> int | None:
    length = response.headers.get("content-length", "")
    return done + int(length) if length.isdecimal() else None
