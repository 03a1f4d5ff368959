"""A second dockerd for tests that restart it or reach it over TLS: ``Daemon``.

It has its own folder, certificates and network namespace: no bridge, address or packet filter of this machine is
touched. A port on the loopback leads to its TLS port in there.
"""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import ipaddress
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

TLS_PORT = 2376
_SIOCSIFFLAGS, _UP_RUNNING = 0x8914, 0x1 | 0x40


@dataclass
class Daemon:
    """A dockerd in ``home``, reached by ``home/docker.sock`` and, with certificates, by ``port`` on the loopback."""

    home: Path
    port: int
    process: subprocess.Popen[bytes] | None = None
    _listener: Any = field(default=None, repr=False)

    def start(self) -> None:
        """Start it, without waiting until it answers."""
        if self._listener is None:
            certificates(self.home)
            self._listener = socket.create_server(("127.0.0.1", self.port), reuse_port=True)
            threading.Thread(target=self._forward, daemon=True).start()
        with (self.home / "log").open("ab") as log:
            self.process = subprocess.Popen(
                ["unshare", "--net", sys.executable, __file__, str(self.home)],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def stop(self) -> None:
        """Stop it, and with it every container; returns when it is gone."""
        if self.process:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(40)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None

    def remove(self) -> None:
        """Stop it for good and remove its folder."""
        self.stop()
        if self._listener:
            self._listener.close()
        shutil.rmtree(self.home, ignore_errors=True)

    @property
    def local(self) -> dict[str, str]:
        """The environment of a client on this machine."""
        return {"DOCKER_HOST": f"unix://{self.home}/docker.sock"}

    @property
    def remote(self) -> dict[str, str]:
        """The environment of a client somewhere else."""
        return {
            "DOCKER_HOST": f"tcp://127.0.0.1:{self.port}",
            "DOCKER_TLS_VERIFY": "1",
            "DOCKER_CERT_PATH": str(self.home),
        }

    def said(self) -> str:
        return (self.home / "log").read_text(errors="replace")[-3000:]

    def _forward(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                forward(self._listener.accept()[0], socket.AF_UNIX, f"{self.home}/tls.sock")


def forward(one: socket.socket, family: int, address: Any) -> None:
    """Connect ``one`` with a new connection to ``address``, each direction to its end."""
    other = socket.socket(family)
    try:
        other.connect(address)
    except OSError:
        one.close()
        return

    def copy(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    for pair in ((one, other), (other, one)):
        threading.Thread(target=copy, args=pair, daemon=True).start()


def main() -> None:
    """Inside the namespace: loopback up, a way from a unix socket to the TLS port, then the engine."""
    home = sys.argv[1]
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", _UP_RUNNING))
    engine = os.getpid()
    if os.fork() == 0:
        path = Path(home, "tls.sock")
        path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(path))
        listener.listen(50)
        listener.settimeout(0.5)
        while os.getppid() == engine:
            with contextlib.suppress(TimeoutError):
                forward(listener.accept()[0], socket.AF_INET, ("127.0.0.1", TLS_PORT))
        return
    argv = [
        "dockerd",
        f"--data-root={home}/data",
        f"--exec-root={home}/run",
        f"--pidfile={home}/pid",
        f"--host=unix://{home}/docker.sock",
        f"--host=tcp://127.0.0.1:{TLS_PORT}",
        "--tlsverify",
        f"--tlscacert={home}/ca.pem",
        f"--tlscert={home}/cert.pem",
        f"--tlskey={home}/key.pem",
        "--bip=10.214.255.1/24",
        "--default-address-pool=base=10.214.0.0/16,size=24",
    ]
    os.execvp(argv[0], argv)


def certificates(folder: Path) -> None:
    """A throw-away authority, and one key and certificate for server and client."""
    now = datetime.datetime.now(datetime.timezone.utc)

    def issue(name: str, key: Any, issuer: str, issuer_key: Any, authority: bool) -> x509.Certificate:
        loopback = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]))
            .issuer_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, issuer)]))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=2))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(loopback, critical=False)
            .sign(issuer_key, hashes.SHA256())
        )

    def save(name: str, data: bytes) -> None:
        (folder / name).write_bytes(data)

    authority_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    pem = serialization.Encoding.PEM
    save("ca.pem", issue("authority", authority_key, "authority", authority_key, True).public_bytes(pem))
    both = issue("both", key, "authority", authority_key, False).public_bytes(pem)
    save("cert.pem", both)
    save(
        "key.pem",
        key.private_bytes(pem, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()),
    )


if __name__ == "__main__":
    main()
