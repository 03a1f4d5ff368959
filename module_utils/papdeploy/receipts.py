"""Receipts: staging's signed word that exactly this was deployed there and passed; production demands it.

A receipt names what was deployed (its *subject*: every migration by checksum, the models, the release, the server's
major version) and the evidence. It is signed with Ed25519 (package ``cryptography``, on the controller only); a folder
or a git repository carries it to where production is deployed from.
"""

from __future__ import annotations

import base64
import fnmatch
import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Optional

from .core import text
from .core.clock import now, seconds_between
from .core.durable import sync_folder
from .core.regular import read_regular
from .errors import PapError, Refused, Unavailable
from .migrations.files import TEMPLATE

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

FORMAT = 1
_DOMAIN = b"pap-deploy receipt 1\0"
_SKEW_S = 300.0
# What differs between two copies of the same release without meaning anything.
IGNORED = ("__pycache__", "*.pyc", ".git", ".venv", "venv", ".env", "*.log")


def subject(
    migrations: Mapping[str, str], *, models_digest: str, version: Mapping[str, Any], server_version: int
) -> dict[str, Any]:
    """What is deployed, by content. ``migrations`` is file name to text (the template, which never runs, is none);
    ``server_version`` is server_version_num."""
    run = sorted((name, text) for name, text in migrations.items() if name != f"{TEMPLATE}.py")
    return {
        "migrations": {name: hashlib.sha256(text.encode()).hexdigest() for name, text in run},
        "models": models_digest,
        "release": {"label": version["label"], "checksum": release_checksum(version)},
        "server_major": server_version // 10000,
    }


def release_checksum(version: Mapping[str, Any]) -> str:
    """What identifies a release wherever it is: the image's digest, or a checksum over the files of its folder."""
    path = version.get("path")
    return "files:" + folder_checksum(Path(path)) if path else str(version["identity"])


def folder_checksum(folder: Path, ignored: Sequence[str] = IGNORED) -> str:
    """SHA-256 over names, kinds and contents of all files below ``folder``, whatever their order, owner and time."""
    total = hashlib.sha256()
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not _is_ignored(name, ignored))
        links = [name for name in folders if (Path(root) / name).is_symlink()]
        for name in sorted([*files, *links]):
            path = Path(root) / name
            if _is_ignored(name, ignored) or not (path.is_file() or path.is_symlink()):
                continue
            if path.is_symlink():
                content = hashlib.sha256(b"link\0" + os.fsencode(path.readlink())).hexdigest()
            else:
                content = _file_checksum(path)
            total.update(f"{path.relative_to(folder).as_posix()}\0{content}\n".encode("utf-8", "surrogateescape"))
    return total.hexdigest()


def _is_ignored(name: str, ignored: Sequence[str]) -> bool:
    return any(fnmatch.fnmatch(name, pattern) for pattern in ignored)


def _file_checksum(path: Path) -> str:
    checksum = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            checksum.update(chunk)
    return checksum.hexdigest()


def differences(there: Mapping[str, Any], here: Mapping[str, Any], environment: str = "staging") -> list[str]:
    """What keeps the subject of a receipt from being the subject ``here``, each as a sentence."""
    found: list[str] = []
    tested, wanted = there["migrations"], here["migrations"]
    found += [f"migration {name} was never run in {environment}" for name in wanted if name not in tested]
    found += [f"migration {name} was run in {environment} and is missing here" for name in tested if name not in wanted]
    found += [
        f"migration {name} was edited: {environment} ran {_short(tested[name])}, here it is {_short(wanted[name])}"
        for name in wanted
        if name in tested and tested[name] != wanted[name]
    ]
    if there["models"] != here["models"]:
        found.append(f"the models differ: {environment} had {_short(there['models'])}, here {_short(here['models'])}")
    if there["release"]["checksum"] != here["release"]["checksum"]:
        found.append(f"the release differs: {environment} ran {_release(there)}, this would deploy {_release(here)}")
    if there["server_major"] != here["server_major"]:
        found.append(
            f"{environment} runs PostgreSQL {there['server_major']}, here it is PostgreSQL {here['server_major']}"
        )
    return found


def _release(of: Mapping[str, Any]) -> str:
    return f"{of['release']['label']} ({_short(of['release']['checksum'])})"


def _short(checksum: str) -> str:
    kind, _, value = checksum.rpartition(":")
    return f"{kind}:{value[:12]}" if kind else value[:12]


# Signing and verifying.


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


def sign(receipt: Mapping[str, Any], private_text: str) -> dict[str, Any]:
    """The document to keep: the receipt, and the signature over its canonical form."""
    key = _private(private_text)
    return {
        "receipt": dict(receipt),
        "signature": {
            "key": key_id(key.public_key()),
            "value": base64.b64encode(key.sign(_canonical(receipt))).decode(),
        },
    }


def verify(document: Any, public_texts: Iterable[str]) -> dict[str, Any]:
    """The receipt in a document that one of the keys signed. Raises Refused that says what is wrong with it."""
    crypto = _cryptography()
    keys = {key_id(key): key for key in map(_public, public_texts)}
    try:
        receipt, signature = document["receipt"], document["signature"]
        key_name, value = signature["key"], base64.b64decode(signature["value"], validate=True)
        if receipt["format"] != FORMAT:
            raise Refused(f"it has format {receipt['format']!r}, this version reads {FORMAT}.")
    except (KeyError, TypeError, ValueError) as error:
        raise Refused("it is not a receipt.") from error
    if key_name not in keys:
        raise Refused(f"it was signed with the key {key_name}, which is not among the trusted ones.")
    try:
        keys[key_name].verify(value, _canonical(receipt))
    except crypto.InvalidSignature:
        raise Refused("its signature is wrong: it was changed after it was signed.") from None
    result: dict[str, Any] = receipt
    return result


def key_id(key: Ed25519PublicKey) -> str:
    """A short name of a public key."""
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()[:16]


def _canonical(receipt: Mapping[str, Any]) -> bytes:
    return _DOMAIN + json.dumps(receipt, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()


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


# The folder of receipts.


def write(folder: Path, document: Mapping[str, Any]) -> Path:
    """Put a signed receipt into the folder, whole or not at all. Its name sorts by time."""
    receipt = document["receipt"]
    stamp = str(receipt["at"]).replace("-", "").replace(":", "").split(".")[0]
    path = folder / f"{stamp}-{_plain(receipt['environment'])}-{_plain(receipt['stack'])}-{receipt['release']}.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f".{path.name}.{os.getpid()}")
        fresh.write_text(json.dumps(document, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        fresh.replace(path)
        sync_folder(folder)
    except OSError as error:
        raise Unavailable(
            f"The receipt cannot be written to {folder}: {error.strerror}.", hint="Check receipt_folder."
        ) from error
    return path


def _plain(text: str) -> str:
    return "".join(c if c.isalnum() or c in "-_" else "_" for c in str(text))


@dataclass(frozen=True)
class Shelf:
    """What a folder holds: receipts with a good signature, newest first, and what was wrong with the others."""

    receipts: list[dict[str, Any]]
    rejected: list[str]


def read(folder: Path, public_texts: Iterable[str]) -> Shelf:
    """Every receipt of a folder. Raises Unavailable if there is no such folder."""
    if not folder.is_dir():
        raise Unavailable(
            f"There is no folder of receipts at {folder}.",
            hint="Set receipt_folder to where staging writes its receipts (or receipt_repository).",
        )
    keys = list(public_texts)
    receipts: list[dict[str, Any]] = []
    rejected: list[str] = []
    for path in sorted(folder.glob("*.json"), reverse=True):
        try:
            receipts.append(verify(json.loads(read_regular(path)), keys))
        except (OSError, ValueError, Refused) as error:
            why = error.message if isinstance(error, PapError) else "it cannot be read."
            rejected.append(f"{path.name}: {why}")
    return Shelf(receipts, rejected)


def demand(
    shelf: Shelf,
    wanted: Mapping[str, Any],
    *,
    environment: str = "staging",
    max_age_s: float,
    at: str = "",
) -> dict[str, Any]:
    """The receipt for exactly ``wanted``, from ``environment``, younger than ``max_age_s`` seconds.

    Raises Refused; its message names what differs from the receipt that comes closest.
    """
    at = at or now()
    candidates = [receipt for receipt in shelf.receipts if receipt["environment"] == environment]
    compared = [(differences(receipt["subject"], wanted, environment), receipt) for receipt in candidates]
    exact = [receipt for found, receipt in compared if not found]
    ages = [seconds_between(receipt["at"], at) for receipt in exact]
    for receipt, age in zip(exact, ages):
        if -_SKEW_S <= age <= max_age_s:
            return receipt
    ignored = (
        f" Passed over: {text.plural(len(shelf.rejected), 'file')}: {'; '.join(shelf.rejected[:3])}"
        if shelf.rejected
        else ""
    )
    if exact:
        newest, age = exact[0], ages[0]
        which = f"release {newest['release']}, {_minute(newest['at'])}"
        said = (
            f"is {text.age(age)} old and may be at most {text.age(max_age_s)}"
            if age >= 0
            else "has a time in the future"
        )
        raise Refused(
            f"The receipt of {environment} for this deploy ({which}) {said}.{ignored}",
            hint=f"Deploy to {environment} again, then here.",
            receipt=newest["release"],
            differs=[],
        )
    if compared:
        found, nearest = min(compared, key=lambda item: len(item[0]))
        raise Refused(
            f"{environment.capitalize()} has no receipt for this deploy. Against its release {nearest['release']} of"
            f" {_minute(nearest['at'])}: {'; '.join(found)}.{ignored}",
            hint=f"Deploy exactly this to {environment} first: ansible-playbook deploy.yml -l {environment}",
            receipt=nearest["release"],
            differs=found,
        )
    raise Refused(
        f"There is no receipt of {environment} at all.{ignored}",
        hint=f"Deploy to {environment} first: ansible-playbook deploy.yml -l {environment}",
        receipt="",
        differs=[],
    )


def _minute(at: str) -> str:
    return f"{at[:16].replace('T', ' ')} UTC"


def override(reason: str, refused: Refused, who: Mapping[str, Any]) -> dict[str, Any]:
    """The record of going on without a receipt. Raises Refused if the reason is none."""
    if len(reason.split()) < 3:
        raise Refused(
            f"{refused.message} The reason given to go on without it says too little: {reason.strip()!r}.",
            hint="Say who decided and why, in at least three words: -e receipt_override='…'. It is recorded.",
        )
    return {"reason": reason.strip(), "who": dict(who), "at": now(), "instead_of": refused.message}


def make(
    subject_here: Mapping[str, Any],
    *,
    release: str,
    stack: str,
    environment: str,
    at: str,
    evidence: Optional[Mapping[str, Any]] = None,
) -> dict[str, Any]:
    """An unsigned receipt of a release that finished at ``at``. ``evidence`` is what the journal says of its tests."""
    return {
        "format": FORMAT,
        "release": release,
        "stack": stack,
        "environment": environment,
        "at": at,
        "subject": dict(subject_here),
        "evidence": dict(evidence or {}),
    }


def evidence_of(entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What a journal says of how a release was tested: rehearsal, backup proof, smoke test, first minute."""

    def done(phase: str) -> Mapping[str, Any]:
        return next((e for e in reversed(entries) if e["phase"] == phase and e["event"] == "done"), {})

    rehearsal, smoke, backup, watched = done("rehearse"), done("login_smoke_test"), done("backup"), done("watch")
    return {
        "rehearsal": {key: rehearsal.get(key) for key in ("verdict", "reversible", "old_api_works")}
        if rehearsal
        else None,
        "backup_sha256": backup.get("sha256"),
        "checks": [check.get("name") for check in smoke.get("checks", []) if check.get("ok")],
        "endpoints": [endpoint.get("path") for endpoint in smoke.get("endpoints", [])],
        "watch_findings": watched.get("findings"),
    }
