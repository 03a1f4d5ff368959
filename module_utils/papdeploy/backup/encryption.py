"""Encryption at rest with the programs that people have: age, or GnuPG. They run on the target host, as filters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Optional

from ..core.errors import Refused


@dataclass(frozen=True)
class Encryption:
    """``method`` is "age" or "gpg"; ``recipients`` are public keys (age) or key ids (gpg). ``identity`` is the age
    identity file, or GnuPG's home folder, that can decrypt: a proof needs it, taking a backup does not."""

    method: str
    recipients: tuple[str, ...]
    identity: str = ""
    passphrase_file: str = ""

    def __post_init__(self) -> None:
        if self.method not in ("age", "gpg"):
            raise Refused(f"Encryption by {self.method!r} is not known.", hint="Use age or gpg.")
        if not self.recipients:
            raise Refused("Encryption needs at least one recipient.", hint="Set backup_encrypt.recipients.")

    @classmethod
    def of(cls, value: Encryption | Mapping[str, Any] | None) -> Optional[Encryption]:
        """From the inventory's options (the names of the fields); None if there are none."""
        if isinstance(value, Encryption):
            return value
        if not value:
            return None
        options = dict(value)
        unknown = sorted(set(options) - {"method", "recipients", "identity", "passphrase_file"})
        if unknown:
            raise Refused(f"Unknown option of the encryption: {', '.join(unknown)}.")
        recipients = options.get("recipients") or ()
        return cls(
            str(options.get("method") or "age"),
            (recipients,) if isinstance(recipients, str) else tuple(recipients),
            str(options.get("identity") or ""),
            str(options.get("passphrase_file") or ""),
        )

    @property
    def opens(self) -> bool:
        """Whether a key to open it is named here."""
        return bool(self.identity)

    @property
    def suffix(self) -> str:
        return f".{self.method}"

    def encrypt_argv(self) -> list[str]:
        if self.method == "age":
            return ["age", "--encrypt", *(word for key in self.recipients for word in ("--recipient", key))]
        home = ["--homedir", self.identity] if self.identity else []
        keys = [word for key in self.recipients for word in ("--recipient", key)]
        # The dump is compressed already; and a key on the list is trusted because the inventory names it.
        return [
            "gpg",
            "--batch",
            "--quiet",
            *home,
            "--trust-model",
            "always",
            "--compress-algo",
            "none",
            "--encrypt",
            *keys,
        ]

    def decrypt_argv(self) -> list[str]:
        if self.method == "age":
            if not self.identity:
                raise Refused(
                    "An encrypted backup cannot be opened here: no identity is given.",
                    hint="Set backup_encrypt.identity, or choose backup_proof=none and verify it where the key is.",
                )
            return ["age", "--decrypt", "--identity", self.identity]
        home = ["--homedir", self.identity] if self.identity else []
        phrase = (
            ["--pinentry-mode", "loopback", "--passphrase-file", self.passphrase_file] if self.passphrase_file else []
        )
        return ["gpg", "--batch", "--quiet", *home, *phrase, "--decrypt"]

    def as_dict(self) -> dict[str, Any]:
        """For the manifest: who can open it. No secret is in here."""
        return {"method": self.method, "recipients": list(self.recipients)}
