"""The engine's mixed stream taken apart, and TLS with a half-close: bytes only, no engine."""

from __future__ import annotations

import datetime
import ipaddress
import json
import socket
import ssl
import struct
import threading
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st
from papdeploy.app.restart_policies import PolicyMemo
from papdeploy.core.errors import PapError, Unavailable
from papdeploy.sites.docker.exec_stream import Duplex, Endpoint, Frames, connect, hijack
from papdeploy.sites.docker.records import Policy


def frame(stream: int, data: bytes) -> bytes:
    return struct.pack(">BxxxL", stream, len(data)) + data


@given(
    st.lists(st.tuples(st.sampled_from([1, 2, 3]), st.binary(max_size=300)), max_size=12),
    st.lists(st.integers(1, 40), min_size=1, max_size=30),
)
def test_frames_come_apart_however_they_arrive(pieces: list[tuple[int, bytes]], cuts: list[int]) -> None:
    whole = b"".join(frame(stream, data) for stream, data in pieces)
    frames = Frames()
    found: dict[int, bytes] = {1: b"", 2: b"", 3: b""}
    at = turn = 0
    while at < len(whole):
        step = cuts[turn % len(cuts)]
        for stream, data in frames.feed(whole[at : at + step]):
            found[stream] += bytes(data)
        at, turn = at + step, turn + 1
    assert found == {n: b"".join(data for stream, data in pieces if stream == n) for n in (1, 2, 3)}


@pytest.mark.parametrize(
    ("address", "path", "host", "port"),
    [
        ("unix:///var/run/docker.sock", "/var/run/docker.sock", "", 0),
        ("unix://run/podman.sock", "/run/podman.sock", "", 0),
        ("tcp://10.0.0.1:1234", "", "10.0.0.1", 1234),
        ("tcp://engine", "", "engine", 2375),
        ("tcp://[fd00::1]:99", "", "fd00::1", 99),
    ],
)
def test_endpoints(address: str, path: str, host: str, port: int) -> None:
    found = Endpoint.of(address, None, "1.41")
    assert (found.path, found.host, found.port, found.tls) == (path, host, port, None)


def test_an_endpoint_of_another_kind_is_refused() -> None:
    with pytest.raises(Unavailable, match="neither unix:// nor tcp://"):
        Endpoint.of("npipe:////./pipe/docker", None, "1.41")


class Peer:
    """A server of one connection: reads to the end, while it writes ``answer``; then says how much it read."""

    def __init__(self, answer: bytes, context: ssl.SSLContext | None = None, head: bytes = b"") -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.received = b""
        self._answer, self._context, self._head = answer, context, head
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        if self._context:
            connection = self._context.wrap_socket(connection, server_side=True, suppress_ragged_eofs=False)
        with connection:
            if self._head:
                request = b""
                while b"\r\n\r\n" not in request:
                    request += connection.recv(4096)
                connection.sendall(self._head)
            # Python's own TLS cannot go on sending after it has read the other side's close_notify in every version,
            # so all is sent first; the client must take it while it still sends.
            connection.sendall(self._answer)
            while data := connection.recv(65536):
                self.received += data

    def join(self) -> None:
        self._thread.join(20)
        self._listener.close()
        assert not self._thread.is_alive()


@pytest.fixture(scope="module")
def contexts(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """A server's context with a throw-away certificate, and a client's that trusts it alone."""
    folder: Path = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "cert.pem").write_bytes(certificate.public_bytes(pem))
    (folder / "key.pem").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption())
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return server, ssl.create_default_context(cafile=str(folder / "cert.pem"))


@pytest.mark.parametrize("tls", [False, True])
def test_both_directions_at_once_and_a_half_close(tls: bool, contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    server, client = contexts
    data = bytes(range(256)) * 8000
    peer = Peer(data, server if tls else None)
    stream = connect(Endpoint("", "127.0.0.1", peer.port, client if tls else None, "1.41"))
    sender = threading.Thread(target=lambda: (stream.send(data), stream.finish()))
    sender.start()
    received = b""
    while piece := stream.receive():
        received += piece
    sender.join(20)
    peer.join()
    assert received == data
    assert peer.received == data
    stream.close()


def test_a_foreign_certificate_is_not_trusted(contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    server, _ = contexts
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        connection, _ = listener.accept()
        try:
            server.wrap_socket(connection, server_side=True).close()
        except OSError:
            connection.close()

    threading.Thread(target=serve, daemon=True).start()
    with pytest.raises(ssl.SSLCertVerificationError):
        connect(Endpoint("", "127.0.0.1", listener.getsockname()[1], ssl.create_default_context(), "1.41"))
    listener.close()


@pytest.mark.parametrize(
    "head", [b"HTTP/1.1 101 UPGRADED\r\nUpgrade: tcp\r\n\r\nfirst", b"HTTP/1.1 200 OK\r\n\r\nfirst"]
)
def test_what_comes_with_the_answer_is_not_lost(head: bytes) -> None:
    peer = Peer(b" second", head=head)
    stream = hijack(Endpoint("", "127.0.0.1", peer.port, None, "1.41"), "/exec/x/start", b'{"Tty": false}')
    received = b""
    while len(received) < len(b"first second"):
        received += stream.receive()
    assert received == b"first second"
    stream.close()
    peer.join()


def test_a_refusal_is_told_in_the_engine_s_words() -> None:
    body = b'{"message": "container x is not running"}'
    peer = Peer(b"", head=b"HTTP/1.1 409 Conflict\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
    with pytest.raises(Unavailable, match="said 409: container x is not running"):
        hijack(Endpoint("", "127.0.0.1", peer.port, None, "1.41"), "/exec/x/start", b"{}")
    peer.join()


def test_closing_wakes_a_reader() -> None:
    one, other = socket.socketpair()
    stream = Duplex(one)
    seen: list[object] = []

    def read() -> None:
        try:
            seen.append(stream.receive())
        except OSError as error:
            seen.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    stream.close()
    reader.join(5)
    assert len(seen) == 1
    other.close()


def test_policies_are_remembered_until_they_are_given_back(tmp_path: Path) -> None:
    memo = PolicyMemo(tmp_path / "state" / "policies.json")
    assert memo.all() == {}
    memo.remember("a", Policy("always"))
    memo.remember("b", Policy("on-failure", 2))
    assert PolicyMemo(memo.path).all()["a"] == Policy("always")
    assert json.loads(memo.path.read_text()) == {
        "a": {"Name": "always"},
        "b": {"Name": "on-failure", "MaximumRetryCount": 2},
    }
    memo.forget("a")
    memo.forget("never-there")
    assert list(memo.all()) == ["b"]
    assert [path.name for path in memo.path.parent.iterdir()] == ["policies.json"]


@pytest.mark.parametrize("content", ['{"a": {"Na', "[]", "null", '{"a": "always"}', '{"a": {"Name": 1}}'])
def test_a_damaged_memo_is_told_and_not_taken_for_empty(tmp_path: Path, content: str) -> None:
    path = tmp_path / "policies.json"
    path.write_text(content)
    with pytest.raises(PapError, match="restart policies of stopped containers"):
        PolicyMemo(path).all()
