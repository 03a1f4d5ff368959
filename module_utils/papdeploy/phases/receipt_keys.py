"""The controller's side of receipts: keys, signing what staging reports, and the demand before production."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from .. import receipts
from ..core.errors import Refused, Unavailable
from ..core.records import as_object, read_known, recorded, whole
from ..core.text import few
from ..releases.run import Run
from .result import Printed, Result

_NO_PUBLIC_KEY = (
    "Set receipt_public_keys (or receipt_public_key_files) to staging's public key, or receipt_required: false for an"
    " environment that needs no receipt."
)

_WITHOUT = "To go on without one: -e 'receipt_override=\"who decided, and why\"' (it is recorded)."


@dataclass(frozen=True)
class _Evidence:
    """What is said of it where it is signed."""

    unmeasured: tuple[str, ...] = ()


@dataclass(frozen=True)
class Key:
    """``changed``: it was made."""

    changed: bool


@dataclass(frozen=True)
class Signed(Result):
    changed: bool
    paths: Sequence[str]


@dataclass(frozen=True)
class Demanded:
    """By which receipt, or by whose decision, the deploy may go on."""

    receipt: Mapping[str, Any]
    override: Mapping[str, Any]
    pap: Optional[Printed] = None


def ensure_key(private_file: str, public_file: str) -> Key:
    """Make a key pair unless there is one: for trying things out. A real private key belongs into Ansible Vault."""
    private = Path(private_file)
    if private.exists():
        return Key(False)
    text, public = receipts.generate()
    private.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(private, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(text)
    Path(public_file).write_text(public, encoding="ascii")
    return Key(True)


def write(
    receipt: Mapping[str, Any],
    folder: str,
    private_key: str,
    private_file: str,
    revocations: Sequence[Mapping[str, Any]] = (),
) -> Signed:
    """Sign a receipt and put it into the folder, and each revocation that is not there yet."""
    text, place = private_key or _text(private_file), Path(folder)
    keys = receipts.keys_of(text)
    known = [read_known(receipts.Statement, each, "revocation") for each in revocations]
    missing = [each for each in known if not receipts.is_revoked(place, each, keys)]
    made = [read_known(receipts.Statement, receipt, "receipt")] if receipt else []
    paths = [receipts.write(place, receipts.sign(each, text)) for each in [*missing, *made]]
    lines = [f"revoked the receipt of release {each.release}, rolled back, in {folder}" for each in missing]
    if made:
        lines.append(f"signed {paths[-1].name} in {folder}")
        unmeasured = recorded(_Evidence, made[0].evidence).unmeasured
        if unmeasured:
            lines.append(
                f"it says that what became of {few(unmeasured, 6)} is not measured: a production that demands"
                " 'measured' does not take it"
            )
    status = "warning" if missing or len(lines) > 1 else "ok"
    return Signed(Printed("receipt", lines, status), bool(paths), [str(path) for path in paths])


def demand(
    subject: Mapping[str, Any],
    folder: str,
    *,
    public_keys: Sequence[str],
    public_files: Sequence[str],
    environment: str,
    max_age_hours: float,
    holds: Sequence[str] = (),
    may_differ: Sequence[str] = (),
    reason: str,
    who: Run,
) -> Demanded:
    """The receipt by which this deploy may go on, or the override that a person gave a reason for. Raises Refused."""
    terms = receipts.Terms(environment, max_age_hours * 3600, holds, may_differ)
    terms.refuse_unknown()  # a mistake in the inventory is nothing to go on without
    try:
        keys = [*public_keys, *(_text(path) for path in public_files)]
        if not keys:
            raise Refused("A receipt is demanded, but no public key is known to verify one.", hint=_NO_PUBLIC_KEY)
        shelf = receipts.read(Path(folder), keys)
        receipt = receipts.demanded(shelf, read_known(receipts.Subject, subject, "subject"), terms)
        said = receipts.passed_over(shelf)
        return Demanded(receipt.as_json(), {}, Printed("receipt", [said] if said else []))
    except (Refused, Unavailable) as error:
        if not reason:
            error.hint = f"{error.hint.rstrip('.')}. {_WITHOUT}"
            raise
        return Demanded({}, whole(receipts.override(reason, Refused(error.message), as_object(who))))


def _text(path: str) -> str:
    if not path:
        raise Refused(
            "There is no key to sign receipts with.",
            hint="Set receipt_private_key (from Ansible Vault) or receipt_private_key_file.",
        )
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise Unavailable(
            f"The key {path} cannot be read: {error.strerror}.", hint="Check its path and mode."
        ) from error
    except UnicodeDecodeError as error:
        raise Unavailable(f"The file {path} is not a key: it is not text.", hint="Check its path.") from error
