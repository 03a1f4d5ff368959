"""Ed25519 keys, and the statements that they sign and verify; on the controller, where ``cryptography`` is."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Optional, Union

from ..core.errors import PapError, Refused, Unavailable
from ..core.records import read_known, recorded, whole
from ..core.visible import visible
from .statements import FORMAT, Statement, statement

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

Keys = Mapping[str, "Ed25519PublicKey"]


def generate() -> tuple[str, str]:
    """A new private key and its public key, both PEM."""
    crypto = _cryptography()
    key = crypto.ed25519.Ed25519PrivateKey.generate()
    private = key.private_bytes(
        crypto.serialization.Encoding.PEM,
        crypto.serialization.PrivateFormat.PKCS8,
        crypto.serialization.NoEncryption(),
    )
    return private.decode(), _public_pem(key.public_key())


@dataclass(frozen=True)
class _Signature:
    key: str
    value: str


@dataclass(frozen=True)
class _Signed:
    """A document: one statement, as JSON has it, and the signature over its canonical form."""

    signature: _Signature
    receipt: Optional[Mapping[str, Any]] = None
    revocation: Optional[Mapping[str, Any]] = None


@dataclass(frozen=True)
class _Format:
    format: Optional[int] = None


def sign(signed: Union[Statement, Mapping[str, Any]], private_text: str) -> dict[str, Any]:
    """The document to keep: the statement (or what JSON has it as), and the signature over its canonical form."""
    key = _private(private_text)
    made = signed.as_json() if isinstance(signed, Statement) else signed
    kind = "revocation" if "revoked_at" in made else "receipt"
    value = base64.b64encode(key.sign(_canonical(kind, made))).decode()
    return {kind: dict(made), "signature": whole(_Signature(key_id(key.public_key()), value))}


def keys_of(private_text: str) -> Keys:
    """The key that verifies what this one signs."""
    key = _private(private_text).public_key()
    return {key_id(key): key}


def trusted(public_texts: Iterable[str]) -> Keys:
    """The keys by their short names. Raises Refused for one that cannot be read."""
    return {key_id(key): key for key in map(_public, public_texts)}


def verify(document: Any, public_texts: Iterable[str]) -> Statement:
    """The statement in a document that one of the keys signed. Raises Refused that says what is wrong with it."""
    return verified(document, trusted(public_texts))


def verified(document: Any, keys: Keys) -> Statement:
    """The same with keys that are read already. Whatever the document is, it is a statement or is refused."""
    try:
        found = read_known(_Signed, document)
    except PapError:
        raise Refused("it is not a receipt.") from None
    kind, value = ("receipt", found.receipt) if found.receipt is not None else ("revocation", found.revocation)
    version, signature = recorded(_Format, value).format, found.signature
    if version is None:
        raise Refused("it is not a receipt.")
    if version != FORMAT:
        raise Refused(f"it has format {str(version)[:20]}, this version reads {FORMAT}: deploy to staging again.")
    if signature.key not in keys:
        raise Refused(f"it was signed with the key {visible(signature.key)[:40]}, which is not among the trusted ones.")
    try:
        signed = base64.b64decode(signature.value, validate=True)
    except ValueError:
        raise Refused("its signature is none.") from None
    crypto = _cryptography()
    try:
        keys[signature.key].verify(signed, _canonical(kind, value))
    except crypto.InvalidSignature:
        raise Refused("its signature is wrong: it was changed after it was signed.") from None
    except RecursionError:
        raise Refused("it is not a receipt.") from None
    return statement(value, kind)


def key_id(key: Ed25519PublicKey) -> str:
    """A short name of a public key."""
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()[:16]


def _canonical(kind: str, signed: object) -> bytes:
    """The kind is part of what is signed: no receipt can be passed off as the revocation of itself, nor the reverse."""
    text = json.dumps(signed, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return f"pap-deploy {kind} {FORMAT}\0{text}".encode()


def _public_pem(key: Any) -> str:
    crypto = _cryptography()
    encoding, form = crypto.serialization.Encoding.PEM, crypto.serialization.PublicFormat.SubjectPublicKeyInfo
    return str(key.public_bytes(encoding, form).decode())


def _private(text: str) -> Ed25519PrivateKey:
    crypto = _cryptography()
    try:
        data = text.strip().encode() + b"\n"
        loaders = crypto.serialization
        load = loaders.load_ssh_private_key if b"OPENSSH" in data else loaders.load_pem_private_key
        key = load(data, password=None)
    except (ValueError, TypeError, crypto.UnsupportedAlgorithm) as error:
        raise Refused("The private key for receipts cannot be read.", hint=_KEY_HINT) from error
    if not isinstance(key, crypto.ed25519.Ed25519PrivateKey):
        raise Refused("The private key for receipts is not an Ed25519 key.", hint=_KEY_HINT)
    result: Ed25519PrivateKey = key
    return result


def _public(text: str) -> Ed25519PublicKey:
    crypto = _cryptography()
    try:
        data = text.strip().encode() + b"\n"
        loaders = crypto.serialization
        key = (loaders.load_ssh_public_key if data.startswith(b"ssh-") else loaders.load_pem_public_key)(data)
    except (ValueError, TypeError, crypto.UnsupportedAlgorithm) as error:
        raise Refused("A public key for receipts cannot be read.", hint=_KEY_HINT) from error
    if not isinstance(key, crypto.ed25519.Ed25519PublicKey):
        raise Refused("A public key for receipts is not an Ed25519 key.", hint=_KEY_HINT)
    result: Ed25519PublicKey = key
    return result


_KEY_HINT = (
    "Make a pair: openssl genpkey -algorithm ed25519 -out receipt.key && openssl pkey -in receipt.key -pubout"
    " -out receipt.pub. The private one belongs into Ansible Vault."
)


@dataclass(frozen=True)
class _Cryptography:
    ed25519: Any
    serialization: Any
    InvalidSignature: Any
    UnsupportedAlgorithm: Any


def _cryptography() -> _Cryptography:
    try:
        from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as error:
        raise Unavailable(
            "Receipts need the Python package cryptography on the controller.",
            hint="It comes with ansible-core; install it for the Python that runs ansible-playbook.",
        ) from error
    return _Cryptography(ed25519, serialization, InvalidSignature, UnsupportedAlgorithm)
