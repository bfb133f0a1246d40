"""Doubles of HTTP services, on free loopback ports: answers by path, what was asked, and what goes wrong.

:class:`Double` is one server. :class:`Proxy` lets a program reach doubles under the names of real hosts: it
takes ``CONNECT``, shows a certificate of an authority made for the test, and passes the requests on.
"""

from __future__ import annotations

import datetime
import re
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass(frozen=True)
class Asked:
    """A request that came."""

    method: str
    path: str
    """With the query."""
    headers: Mapping[str, str]
    body: bytes
    match: re.Match[str]
    """Of the path without its query."""

    @property
    def query(self) -> dict[str, str]:
        """The query's last value of each name."""
        return {name: values[-1] for name, values in parse_qs(urlsplit(self.path).query).items()}

    @property
    def host(self) -> str:
        """The host that the program believes to speak to."""
        return self.headers.get("host", "")


@dataclass(frozen=True)
class Answer:
    """What is answered."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: int = -1
    """Close the connection after so many bytes of the body."""
    length: int | None = None
    """What ``Content-Length`` says; default the truth. -1 sends none, and the body in chunks."""


Handler = Callable[[Asked], Answer]


class Double:
    """A service: handlers by method and path."""

    def __init__(self) -> None:
        self.seen: list[Asked] = []
        self._routes: list[tuple[str, re.Pattern[str], Handler]] = []
        double = self

        class Requests(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do(self) -> None:
                double._serve(self)

            do_GET = do_HEAD = do_POST = do_PUT = do

            def log_message(self, *arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Requests)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def address(self) -> tuple[str, int]:
        host, port = self._server.server_address[:2]
        return str(host), int(port)

    @property
    def url(self) -> str:
        return "http://{}:{}".format(*self.address)

    def on(self, method: str, pattern: str, handler: Handler) -> None:
        """Answer requests whose path without the query matches wholly; the last that fits counts."""
        self._routes.insert(0, (method, re.compile(pattern), handler))

    def asked(self, pattern: str) -> list[Asked]:
        """The requests whose path and query match somewhere."""
        return [one for one in self.seen if re.search(pattern, one.path)]

    def _serve(self, request: BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("content-length") or 0))
        headers = {name.lower(): value for name, value in request.headers.items()}
        path = urlsplit(request.path).path
        for method, pattern, handler in self._routes:
            if request.command in method.split("|") and (match := pattern.fullmatch(path)):
                asked = Asked(request.command, request.path, headers, body, match)
                self.seen.append(asked)
                _send(request, handler(asked))
                return
        nothing = Asked(
            request.command, request.path, headers, body, re.match("", "") or re.compile("").match("")
        )  # type: ignore[arg-type]
        self.seen.append(nothing)
        _send(request, Answer(404, b"{}", {"content-type": "application/json"}))

    def __enter__(self) -> Double:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _send(request: BaseHTTPRequestHandler, answer: Answer) -> None:
    request.send_response(answer.status)
    chunked = answer.length == -1
    for name, value in answer.headers.items():
        request.send_header(name, value)
    if chunked:
        request.send_header("transfer-encoding", "chunked")
    elif "content-length" not in {name.lower() for name in answer.headers}:
        request.send_header(
            "content-length", str(len(answer.body) if answer.length is None else answer.length)
        )
    request.end_headers()
    if request.command == "HEAD":
        return
    body = answer.body if answer.cut < 0 else answer.body[: answer.cut]
    if chunked:
        body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    request.wfile.write(body)
    if answer.cut >= 0 or answer.length not in {None, -1, len(answer.body)}:
        request.wfile.flush()
        request.close_connection = True
        request.connection.shutdown(socket.SHUT_RDWR)


def ranged(asked: Asked, content: bytes, etag: str = "", **headers: str) -> Answer:
    """A file, or the part of it that ``Range`` or Azure's ``x-ms-range`` asks for."""
    shown = {"accept-ranges": "bytes", **({"etag": etag} if etag else {}), **headers}
    wanted = asked.headers.get("x-ms-range") or asked.headers.get("range", "")
    match = re.fullmatch(r"bytes=(\d+)-(\d*)", wanted)
    if not match or asked.headers.get("if-range", etag) != etag:
        return Answer(200, content, shown)
    first, last = int(match[1]), min(int(match[2] or len(content) - 1), len(content) - 1)
    if first >= len(content):
        return Answer(416, b"", shown)
    return Answer(
        206, content[first : last + 1], {**shown, "content-range": f"bytes {first}-{last}/{len(content)}"}
    )


@dataclass(frozen=True)
class Authority:
    """A certificate authority for one test."""

    file: Path
    key: Any
    certificate: Any
    folder: Path

    @classmethod
    def make(cls, folder: Path) -> Authority:
        from cryptography import x509
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import NameOID

        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority of a test")])
        usage = x509.KeyUsage(False, False, False, False, False, True, True, False, False)
        certificate = _signed(name, name, key.public_key(), key, [
            (x509.BasicConstraints(True, 0), True), (usage, True),
            (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False),
        ])  # fmt: skip
        file = folder / "authority.pem"
        file.write_bytes(_pem(certificate))
        return cls(file, key, certificate, folder)

    def context(self, host: str) -> ssl.SSLContext:
        """What a server of that host name needs."""
        import ipaddress

        from cryptography import x509
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.x509.oid import NameOID

        file = self.folder / f"{host}.pem"
        if not file.exists():
            key = ec.generate_private_key(ec.SECP256R1())
            name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a test")])
            try:
                named: Any = x509.IPAddress(ipaddress.ip_address(host))
            except ValueError:
                named = x509.DNSName(host)
            above = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
            certificate = _signed(name, self.certificate.subject, key.public_key(), self.key, [
                (x509.SubjectAlternativeName([named]), False), (above, False),
            ])  # fmt: skip
            private = key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            file.write_bytes(private + _pem(certificate))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context


def _signed(name: Any, issuer: Any, public: Any, key: Any, extensions: list[tuple[Any, bool]]) -> Any:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes

    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(issuer).public_key(public)
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - datetime.timedelta(hours=1))
    builder = builder.not_valid_after(now + datetime.timedelta(days=1))
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return builder.sign(key, hashes.SHA256())


def _pem(certificate: Any) -> bytes:
    from cryptography.hazmat.primitives import serialization

    data: bytes = certificate.public_bytes(serialization.Encoding.PEM)
    return data


class Proxy:
    """Brings ``CONNECT`` requests to a double; a host whose name does not match ``known`` is refused."""

    def __init__(self, double: Double, authority: Authority, known: str) -> None:
        self._double = double
        self._authority = authority
        self._known = re.compile(known)
        self.refused: list[str] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._accept, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}"

    def __enter__(self) -> Proxy:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(5)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            worker = threading.Thread(target=self._work, args=(connection,), daemon=True)
            worker.start()

    def _work(self, connection: socket.socket) -> None:
        with connection:
            head = b""
            while b"\r\n\r\n" not in head:
                data = connection.recv(4096)
                if not data:
                    return
                head += data
            host = head.split(b" ")[1].decode().rpartition(":")[0]
            if not head.startswith(b"CONNECT") or not self._known.fullmatch(host):
                self.refused.append(host)
                connection.sendall(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n")
                return
            connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            try:
                with self._authority.context(host).wrap_socket(connection, server_side=True) as secure:
                    _relay(secure, self._double.address)
            except OSError:
                return  # the program went away


def _relay(near: ssl.SSLSocket, address: tuple[str, int]) -> None:
    with socket.create_connection(address, 10) as far:
        far.settimeout(None)

        def back() -> None:
            _copy(far, near)

        answers = threading.Thread(target=back, daemon=True)
        answers.start()
        _copy(near, far)
        answers.join(5)


def _copy(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(1 << 16):
            target.sendall(data)
    except OSError:
        pass
    finally:
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)


@contextmanager
def secured(double: Double, authority: Authority, host: str = "localhost") -> Iterator[str]:
    """The double behind TLS, on a port of its own; gives the URL."""
    listener = socket.create_server(("127.0.0.1", 0))
    context = authority.context(host)

    def work(connection: socket.socket) -> None:
        with connection:
            try:
                with context.wrap_socket(connection, server_side=True) as secure:
                    _relay(secure, double.address)
            except OSError:
                return

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=work, args=(connection,), daemon=True).start()

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    try:
        yield f"https://{host}:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(5)
