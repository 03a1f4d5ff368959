"""The content digest: what a database contains, in a form that two databases can be compared by.

Per table the number of rows and an order-independent sum of row hashes, taken on the server in one pass; the position
of every sequence; large objects; and the catalog by name with owners, privileges and extensions. Two databases whose
content digests are equal hold the same content; where they differ, ``compare`` says what and where.
"""

from __future__ import annotations

from .comparison import Difference, Found, compare, look, look_across, notes
from .content import FORMAT, ContentDigest, Nested, Position, Positions, in_one_format, schema_only
from .read import read_sequences, snapshot_session, take

__all__ = [
    "FORMAT",
    "ContentDigest",
    "Difference",
    "Found",
    "Nested",
    "Position",
    "Positions",
    "compare",
    "in_one_format",
    "look",
    "look_across",
    "notes",
    "read_sequences",
    "schema_only",
    "snapshot_session",
    "take",
]
