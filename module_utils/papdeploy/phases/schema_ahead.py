"""The schema is ahead of the running API: only the image of a release was rolled back, its migrations are in force."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Optional

from ..app.stack import Stack
from ..core.records import read_known
from ..core.text import plural
from ..migrations.cli.results import Applied, State
from ..releases.journal import Journal
from ..releases.records import Begun, Ended
from ..releases.version import Version
from ..schema import CheckOptions, CheckResult, Difference, compare
from ..schema.catalog.rows import Catalog
from ..schema.differences.catalogs import comparable
from ..schema.differences.result import reaches


@dataclass(frozen=True)
class Ahead:
    """The releases (the newest first) whose image alone was rolled back, and those of their ``migrations`` in force."""

    releases: Sequence[Journal]
    migrations: Sequence[str]
    running: str

    @property
    def sentence(self) -> str:
        newest = self.releases[0]
        end = newest.ended() or Ended()
        since = f"{end.at[:16].replace('T', ' ')} UTC"
        how = f"since {since}, when only the image of release {newest.release} was rolled back"
        if end.event == "finished":
            how = f"release {newest.release} finished at {since}, and the API of before it was put back by hand"
        return (
            f"the schema is ahead of the API that runs ({self.running}): {how}; in force:"
            f" {plural(len(self.migrations), 'newer migration')} ({', '.join(self.migrations)})"
        )

    def explain(self, found: CheckResult, expected: Catalog, options: CheckOptions) -> CheckResult:
        """``found`` without what these migrations changed: that is in ``notices``, and no reason to fail or repair.

        What they changed is measured: what differed from ``expected`` after them and did not before.
        """
        changed = self._changed(expected, options)
        others = tuple(item for item in found.differences if _key(item) not in changed)
        count = len(found.differences) - len(others)
        notices = [self.sentence, *([f"{plural(count, 'difference')} explained by that"] if count else [])]
        matches = not any(reaches(item.severity, options.fail_on) for item in others)
        return replace(found, matches=matches, differences=others, notices=(*notices, *found.notices))

    def _changed(self, expected: Catalog, options: CheckOptions) -> set[tuple[str, ...]]:
        before = Catalog.kept(self.releases[-1].folder / "before.json")
        after = Catalog.kept(self.releases[0].folder / "catalog.json")
        if not before or not after or not comparable(before, after) or not comparable(expected, after):
            return set()
        return set(map(_key, compare(expected, after, options))) - set(map(_key, compare(expected, before, options)))


def of(stack: Stack, running: Version, applied: Sequence[Applied]) -> Optional[Ahead]:
    """Whether the schema is ahead of ``running``, by the journals and what the ledger says is ``applied``."""
    releases = _taken_back(stack, running)
    names = {journal.release for journal in releases}
    mine = [entry.identity for entry in applied if entry.release in names]
    return Ahead(releases, mine, running.label) if mine else None


def now(stack: Stack) -> Optional[Ahead]:
    """The same, from the live database. Raises PapError where that or the API's site does not answer."""
    if not stack.state.releases():
        return None
    running = stack.api.running()
    if not _taken_back(stack, running):
        return None
    with stack.beside_models(running) as app_session:
        found = read_known(State, app_session.call("migrations.status", {"sources": {}}, deadline_s=60))
    return of(stack, running, found.applied)


def _taken_back(stack: Stack, running: Version) -> list[Journal]:
    """The releases since the last one in force whose schema stayed, the newest first."""
    found: list[Journal] = []
    for journal in reversed(stack.state.releases()):
        end = journal.ended() or Ended()
        if end.kept_schema and journal.has("migrate"):
            found.append(journal)
        elif end.event == "finished":
            header = journal.begun() or Begun()
            if not found and header.old.identity == running.identity != header.new.identity:
                found.append(journal)
            break
    return found


def _key(item: Difference) -> tuple[str, ...]:
    return (item.kind, item.object, item.expected, item.actual)
