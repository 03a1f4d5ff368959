"""What the models of a version create, without their import reaching the live database."""

from __future__ import annotations

import contextlib
import json

from ..app.stack import AppSession, Stack
from ..core.durable import private_folder, write_durably
from ..core.errors import PapError
from ..releases.version import Version
from ..schema.catalog.rows import Catalog
from . import guards
from .forecast import scratch_database


def digest(stack: Stack, version: Version, app_session: AppSession, server_version: int) -> str:
    """Of the models. They are imported where they reach nothing; models that do not import there, on a scratch
    database."""
    try:
        return digest_in(stack, app_session, server_version, alone=True)
    except PapError:  # it says why in the place where they have what they need
        with (
            scratch_database(stack, "ddl") as scratch,
            stack.on_copy(version, scratch, "the import of the models") as there,
        ):
            guards.refuse_drop_tables_imported(stack, version, there)
            return digest_in(stack, there, server_version)


def digest_in(stack: Stack, there: AppSession, server_version: int, *, alone: bool = False) -> str:
    """The same as the models say in ``there``; ``alone``: imported where they reach nothing."""
    request = {"models": list(stack.models), "server_version": server_version, "alone": alone}
    return str(there.call("schema.ddl", request, deadline_s=120)["digest"])


def expected_catalog(stack: Stack, version: Version, digest: str) -> Catalog:
    """The catalog that the models of ``version`` ask for: from the cache, or made once by the server in a scratch
    database."""
    cache = stack.state.folder / "cache" / f"expected-{digest}.json"
    if cache.is_file():
        return Catalog.from_json(json.loads(cache.read_text(encoding="utf-8")))
    with contextlib.ExitStack() as opened:
        scratch = opened.enter_context(scratch_database(stack, "models"))
        app_session = opened.enter_context(stack.on_copy(version, scratch, "the creation of the models"))
        answer = app_session.call("schema.expect", {"models": list(stack.models)}, deadline_s=300)
        made = Catalog.from_json(answer["catalog"])
    if stack.state.folder.is_dir():  # a stack that was never deployed to stays untouched by a plan
        private_folder(cache.parent)
        write_durably(cache, json.dumps(made.as_json()).encode())
    return made
