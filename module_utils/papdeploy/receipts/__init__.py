"""Receipts: staging's signed word that exactly this was deployed there and passed; production demands it.

A receipt names what was deployed (its *subject*: every migration by checksum, the models, the release, the server's
major version) and the evidence. It is signed with Ed25519 (package ``cryptography``, on the controller only); a folder
or a git repository carries it to where production is deployed from.
"""

from ..app.content import folder_checksum
from .demand import demand, override, passed_over
from .folder import Shelf, read, write
from .signing import generate, sign, verify
from .statements import FORMAT, evidence_of, make
from .subject import differences, subject

__all__ = [
    "FORMAT",
    "Shelf",
    "demand",
    "differences",
    "evidence_of",
    "folder_checksum",
    "generate",
    "make",
    "override",
    "passed_over",
    "read",
    "sign",
    "subject",
    "verify",
    "write",
]
