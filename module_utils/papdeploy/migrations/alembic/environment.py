"""What ``env.py`` says of a tree, learned by running it offline: it configures a context, and connects to nothing."""

from __future__ import annotations

import ast
import contextlib
import io
import logging
import re
import types
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from alembic.runtime.environment import EnvironmentContext
from alembic.util import load_python_file

from ...core.errors import Refused

# Of the offline branch alone, or ours to say.
_NOT_OURS = (
    "as_sql", "connection", "destination_rev", "dialect_name", "dialect_opts", "dont_mutate", "fn", "literal_binds",
    "output_buffer", "purge", "starting_rev", "tag", "template_args", "url", "version_locations",
)  # fmt: skip
# What decides where version rows are and how revisions run. Often only the branch that connects has them.
_DECISIVE = (
    "include_schemas", "on_version_apply", "render_as_batch", "transaction_per_migration", "version_table",
    "version_table_pk", "version_table_schema",
)  # fmt: skip
_MAY_DIFFER = ("include_schemas", "render_as_batch")
# SQL by which a connection works in another schema, or as somebody else, than the URL says.
_ELSEWHERE = re.compile(
    r"\s*SET\s+((SESSION|LOCAL)\s+)?(SEARCH_PATH|SCHEMA|ROLE|SESSION\s+AUTHORIZATION)\b|.*\bset_config\W+(search_path|role)\b",
    re.IGNORECASE | re.DOTALL,
)


@dataclass(frozen=True)
class Learned:
    """``options`` are for ``configure()``, ``arguments`` for each ``upgrade()``. ``own_sql``: lines of ``env.py`` that
    send SQL beside the revisions, where it connects: they are not run here. ``drivername``: SQLAlchemy's, of the URL
    that env.py gives offline; empty where it gives none."""

    options: Mapping[str, Any]
    arguments: Mapping[str, Any]
    version_locations: tuple[str, ...] = ()
    own_sql: tuple[int, ...] = ()
    drivername: str = ""

    @property
    def version_table(self) -> str:
        return str(self.options.get("version_table") or "alembic_version")

    @property
    def version_schema(self) -> str:
        return str(self.options.get("version_table_schema") or "")

    @property
    def transaction_per_migration(self) -> bool:
        return bool(self.options.get("transaction_per_migration"))


@dataclass
class _Heard:
    configured: list[dict[str, Any]] = field(default_factory=list)
    arguments: dict[str, Any] = field(default_factory=dict)
    drivername: str = ""


def _listening(config: Any, script: Any, heard: _Heard) -> Any:
    """Stands where ``alembic.context`` leads while ``env.py`` runs: notes what it configures, and runs nothing."""
    # No subclass: Alembic's module finds the names of its proxy by the exact class.
    context: Any = EnvironmentContext(config, script, as_sql=True)
    really = context.configure

    def configure(connection: Any = None, url: Any = None, **given: Any) -> None:
        heard.configured.append(given)
        heard.drivername = _drivername(url)
        kept = {name: value for name, value in given.items() if name not in _NOT_OURS}
        for name in ("alembic", "sqlalchemy.engine"):  # the runner tells of each step
            logging.getLogger(name).setLevel(logging.WARNING)
        really(dialect_name="postgresql", output_buffer=io.StringIO(), **kept)

    context.configure = configure
    context.begin_transaction = contextlib.nullcontext
    context.run_migrations = heard.arguments.update
    # Offline they would write into a script; here there is none.
    context.execute = context.static_output = lambda *_, **__: None
    return context


def learn(config: Any, script: Any) -> Learned:
    """Run ``env.py`` of ``script`` offline. Raises Refused where it does not configure exactly one database."""
    path, heard = Path(script.dir) / "env.py", _Heard()
    with _listening(config, script, heard):
        module = load_python_file(str(script.dir), "env.py")
    if not heard.configured:
        raise Refused(
            f"{path} configures nothing when it runs offline (alembic upgrade --sql).",
            hint="Call context.configure(…) where context.is_offline_mode() is true, as Alembic's template does.",
        )
    if len(heard.configured) > 1:
        raise Refused(
            f"{path} configures {len(heard.configured)} contexts: a tree for several databases (the template multidb)"
            " or schemas.",
            hint="pap-deploy runs a tree on one database. Deploy each database as a stack with a tree of its own.",
        )
    given = heard.configured[0]
    tree = ast.parse(path.read_text(encoding="utf-8")) if path.is_file() else ast.Module([], [])
    online = _where_it_connects(tree, module, given, path)
    options = {name: value for name, value in {**given, **online}.items() if name not in _NOT_OURS}
    locations = tuple(map(str, given.get("version_locations") or ()))
    return Learned(options, heard.arguments, locations, _own_sql(tree, path), heard.drivername)


def _drivername(url: Any) -> str:
    name = str(url or "").partition("://")[0]
    return name if "postgres" in name else ""  # alembic init writes driver://


def _where_it_connects(tree: ast.Module, module: types.ModuleType, given: Collection[str], path: Path) -> Any:
    """The decisive options that only the other ``configure()`` of the file gives, with a connection."""
    found: dict[str, Any] = {}
    calls = [call for call in _calls(tree, "configure") if _of_context(call)]
    offline = [call for call in calls if not _connects(call)] or calls
    heard = {ast.unparse(each.value) for call in offline for each in call.keywords if not each.arg}
    for call in filter(_connects, calls):
        for keyword in call.keywords:
            name, computed = keyword.arg or "", ast.unparse(keyword.value)
            if name and name not in _DECISIVE:
                continue
            try:
                value = _value(keyword.value, module)
                options = {name: value} if name else dict(value)
                found.update({each: options[each] for each in _DECISIVE if each in options})
            except (AttributeError, TypeError, ValueError):
                if name in given or name in _MAY_DIFFER or (not name and computed in heard):
                    continue
                raise Refused(
                    f"{path}, line {keyword.value.lineno}: {name or f'**{computed}'} is computed where env.py connects,"
                    " and is not given where it runs offline, so that it cannot be known which table has the versions,"
                    " and how revisions run.",
                    hint=f"Give {name or 'these options'} to the context.configure(…) of the offline branch as well.",
                ) from None
    return found


def _of_context(call: ast.Call) -> bool:
    """Not of logging, for example."""
    return ast.unparse(call.func).endswith("context.configure") or any(
        each.arg == "connection" for each in call.keywords
    )


def _connects(call: ast.Call) -> bool:
    """Whether this ``configure()`` is one with a connection: also positional, or hidden among ``**options``."""
    names = {keyword.arg for keyword in call.keywords}
    return bool(call.args) or "connection" in names or (None in names and not names & {"url", "dialect_name"})


def _value(node: ast.expr, module: types.ModuleType) -> Any:
    """The value of a constant, a name of the module, an attribute of one, or a collection: nothing is called."""
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name):
        return getattr(module, node.id)
    if isinstance(node, ast.Attribute):
        return getattr(_value(node.value, module), node.attr)
    if isinstance(node, (ast.List, ast.Tuple)):
        return [_value(each, module) for each in node.elts]
    if isinstance(node, ast.Dict):
        found: dict[Any, Any] = {}
        for key, each in zip(node.keys, node.values):
            if key is None:
                found.update(_value(each, module))
            elif _value(key, module) in _DECISIVE:
                found[_value(key, module)] = _value(each, module)
        return found
    raise ValueError(ast.dump(node))


def _own_sql(tree: ast.Module, path: Path) -> tuple[int, ...]:
    calls = [call for name in ("execute", "exec_driver_sql") for call in _calls(tree, name)]
    for call in calls:
        for node in (each for sent in call.args[:1] for each in ast.walk(sent)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and _ELSEWHERE.match(node.value):
                raise Refused(
                    f"{path}, line {call.lineno}: env.py sends {node.value.strip()!r} where it connects. That is not"
                    " run here: the revisions would run in another schema, or as another role.",
                    hint="Put it into the URL (options=-csearch_path=…) or the role (ALTER ROLE … SET search_path), and"
                    " take it out of env.py.",
                )
    return tuple(sorted({call.lineno for call in calls if ast.unparse(call.func) != "context.execute"}))


def _calls(tree: ast.Module, name: str) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == name:
            yield node
