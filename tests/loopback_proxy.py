"""A proxy on loopback for hosts that only it can find, and a certificate for one of them."""

from __future__ import annotations

import contextlib
import datetime
import http.client
import select
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

from box import HANG_S

HOST = "hub.invalid"
"""A name that no server on earth resolves."""


@dataclass
class Proxy:
    """A proxy that sends everything for HOST to `target`."""

    target: tuple[str, int]
    log: list[str] = field(default_factory=list)
    """The method and the requested host of each request."""
    wants_password: bool = False
    address: str = ""


class Handler(BaseHTTPRequestHandler):
    proxy: Proxy

    def log_message(self, *_: object) -> None:
        pass

    def is_refused(self, host: str) -> bool:
        self.proxy.log.append(f"{self.command} {host}")
        if self.proxy.wants_password:
            self.send_error(407)
        return self.proxy.wants_password

    def do_GET(self) -> None:
        """Pass a request on, as its address says."""
        url = urlsplit(self.path)
        if self.is_refused(str(url.hostname)):
            return
        connection = http.client.HTTPConnection(*self.proxy.target, timeout=HANG_S)
        headers = {key: value for key, value in self.headers.items() if key != "Connection"}
        connection.request(self.command, f"{url.path}?{url.query}", headers=headers)
        answer = connection.getresponse()
        body = answer.read()
        self.send_response(answer.status)
        for key, value in answer.getheaders():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body)
        connection.close()

    do_HEAD = do_GET

    def do_CONNECT(self) -> None:
        """Open a tunnel."""
        if self.is_refused(self.path.partition(":")[0]):
            return
        self.send_response(200)
        self.end_headers()
        with socket.create_connection(self.proxy.target, timeout=HANG_S) as there:
            ends = {self.connection: there, there: self.connection}
            while ready := select.select(list(ends), [], [], HANG_S)[0]:
                for end in ready:
                    content = end.recv(2**16)
                    if not content:
                        return
                    ends[end].sendall(content)


@contextlib.contextmanager
def loopback_proxy(target: str) -> Iterator[Proxy]:
    """Serve a proxy to the server at the address `target`."""
    url = urlsplit(target)
    proxy = Proxy((str(url.hostname), int(url.port or 0)))
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"proxy": proxy}))
    server.daemon_threads = True
    proxy.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def certificate(folder: Path) -> Path:
    """Write a certificate for HOST with its key; return its path."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, HOST)])
    today = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, today - day, today + day)
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(HOST)]), False)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
    signed = builder.sign(key, hashes.SHA256())
    path = folder / "hub.pem"
    encodings = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    secret = key.private_bytes(*encodings, serialization.NoEncryption())
    path.write_bytes(secret + signed.public_bytes(serialization.Encoding.PEM))
    return path


def tls(pem: Path) -> ssl.SSLContext:
    """Return the settings of a server with that certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    return context
