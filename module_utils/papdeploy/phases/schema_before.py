"""The schema that a rollback goes back to: what it was before the release, unless the old API stays on the new one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..app.stack import Stack
from ..core.errors import PapError, VerificationFailed
from ..core.records import whole
from ..releases.journal import Journal
from ..rollback.strategies import named
from ..schema import CheckOptions, Difference, compare, fingerprint
from ..schema.catalog.rows import Catalog
from ..schema.differences.catalogs import comparable
from . import catalogs
from .models_ddl import digest_in, expected_catalog


@dataclass(frozen=True)
class Kept:
    """What is noted of the schema that was gone back to."""

    matches: bool
    note: str = ""
    differences: Sequence[Difference] = ()


def validate(stack: Stack, journal: Journal, strategy: str) -> Kept:
    """The schema must be what it was before the release (unless the old API stays on the new schema)."""
    header = journal.opening()
    if named(strategy).keeps_schema and journal.has("migrate"):
        return Kept(True, "the old release stays on the new schema, as the rehearsal proved it can")
    if not journal.touched and not (journal.folder / "before.json").exists():
        return Kept(True, "the release was interrupted before it had described the schema")
    before = Catalog.kept(journal.folder / "before.json")
    with stack.beside_models(header.old) as app_session:
        live = catalogs.described(app_session)
        # pap-deploy or the server was upgraded since: ask the old models
        if before is None or not comparable(before, live):
            digest = digest_in(stack, app_session, stack.database.facts().version)
            before = expected_catalog(stack, header.old, digest)
    found = compare(before, live, CheckOptions())
    errors = [item for item in found if item.severity == "error"]
    if errors:
        raise VerificationFailed(
            f"After rolling back, the schema is not what it was: {errors[0].object}: {errors[0].kind}.",
            hint="The journal of the release has the schema before it, in before.json.",
            differences=whole(errors),
        )
    return Kept(True, differences=found)


def left(stack: Stack, journal: Journal, strategy: str) -> dict[str, str]:
    """Where only the image went back, the schema that stays is remembered: to the next preflight it is no drift."""
    if not named(strategy).keeps_schema or not journal.has("migrate"):
        return {}
    try:
        return {"schema_fingerprint": fingerprint(catalogs.left_by(stack, journal, journal.opening().old))}
    except PapError:  # the release is rolled back all the same
        return {}
