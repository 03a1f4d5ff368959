"""Encryption at rest with the programs that people have: age, or GnuPG. They run on the target host, as filters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional, Union

from ..core.errors import Refused
from ..core.records import read_known, unknown_names


@dataclass(frozen=True)
class EncryptedFor:
    """Who can open an archive, for its manifest. No secret is in here."""

    method: str
    recipients: tuple[str, ...]


@dataclass(frozen=True)
class _Options:
    """As the inventory has them."""

    method: Optional[str] = None
    recipients: Union[str, tuple[str, ...], None] = None
    identity: Optional[str] = None
    passphrase_file: Optional[str] = None


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
    def of(cls, value: object) -> Optional[Encryption]:
        """From the inventory's options (the names of the fields); None if there are none."""
        if not value:
            return None
        if unknown := unknown_names(_Options, value):
            raise Refused(f"Unknown option of the encryption: {', '.join(unknown)}.")
        given = read_known(_Options, value, "backup_encrypt")
        recipients = given.recipients or ()
        return cls(
            given.method or "age",
            (recipients,) if isinstance(recipients, str) else recipients,
            given.identity or "",
            given.passphrase_file or "",
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

    @property
    def noted(self) -> EncryptedFor:
        return EncryptedFor(self.method, self.recipients)
