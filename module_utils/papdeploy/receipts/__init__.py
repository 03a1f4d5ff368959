"""Receipts: staging's signed word that exactly this was deployed there and passed; production demands it.

A receipt names what was deployed (its *subject*: every migration by checksum, the models, the release, the server's
major version) and the evidence. It is signed with Ed25519 (package ``cryptography``, on the controller only); a folder
or a git repository carries it to where production is deployed from.
"""

from ..app.content import folder_checksum
from .demand import Terms, demand, demanded, override, passed_over
from .folder import Shelf, is_revoked, read, write
from .signing import generate, keys_of, sign, verify
from .statements import FORMAT, HOLDS, Statement, evidence_of, make, revocation
from .subject import Subject, differences, subject

__all__ = [
    "FORMAT",
    "HOLDS",
    "Shelf",
    "Statement",
    "Subject",
    "Terms",
    "demand",
    "demanded",
    "differences",
    "evidence_of",
    "folder_checksum",
    "generate",
    "is_revoked",
    "keys_of",
    "make",
    "override",
    "passed_over",
    "read",
    "revocation",
    "sign",
    "subject",
    "verify",
    "write",
]
