"""The releases of the sandbox's API, as data.

The source in ``app/`` is the newest good release. An older one is the same source without what came later: a line that
ends in ``# since 2.1``, or the lines from ``# since 2.1:`` to ``# end since``, are left out of every release below 2.1.
A broken release is a good one with a few edits.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Edit:
    """In ``file`` (below ``app/``) the text ``find``, which occurs exactly once, becomes ``replace``."""

    file: str
    find: str
    replace: str


@dataclass(frozen=True)
class Release:
    """``version`` decides what of the source is in it; its own migrations are in ``migrations/<name>/``, its tree in
    ``trees/<name>/``, if any."""

    name: str
    version: str
    what: str
    edits: tuple[Edit, ...] = ()


_MODELS_POLICY = '    __tablename__ = "policies"\n'
_MODELS_USER_NAME = "    full_name: Mapped[str | None] = mapped_column(String(255))\n"

RELEASES: dict[str, Release] = {
    release.name: release
    for release in (
        Release("previous", "2.0", "what runs at first: its schema predates the shipped migrations"),
        Release("current", "2.1", "what `make deploy` deploys: needs both shipped migrations"),
        Release("next", "2.2", "a good release after that: adds audit_logs.request_id and its index"),
        Release("alembic", "2.2", "the same as next, with its one migration as a revision of an Alembic tree"),
        Release(
            "broken-migration",
            "2.1",
            "a migration adds a column and fills it, then fails on real data (two users share a name)",
            (
                Edit(
                    "models.py",
                    _MODELS_USER_NAME,
                    _MODELS_USER_NAME
                    + "    display_name: Mapped[str | None] = mapped_column(String(255), unique=True, index=True)\n",
                ),
            ),
        ),
        Release(
            "broken-model",
            "2.1",
            "the model Policy has a column that no migration adds",
            (
                Edit(
                    "models.py",
                    _MODELS_POLICY,
                    _MODELS_POLICY
                    + "    review_due: Mapped[datetime | None] = mapped_column(DateTime(timezone=True))\n",
                ),
            ),
        ),
        Release(
            "broken-login",
            "2.1",
            "migrates well, then every login is a 500",
            (Edit("auth.py", '        "role": user.role,\n', '        "role": user.role.value,\n'),),
        ),
        Release(
            "broken-boot",
            "2.1",
            "migrates well, then the API does not start",
            (Edit("main.py", "    routes,\n", "    routes,\n    telemetry,\n"),),
        ),
        Release(
            "broken-data",
            "2.1",
            "migrates well, then the API empties the database whenever it starts, and works well on that",
            (
                Edit(
                    "startup.py",
                    "    Base.metadata.create_all(engine)\n",
                    "    Base.metadata.drop_all(engine)\n    Base.metadata.create_all(engine)\n",
                ),
            ),
        ),
    )
}

FIRST = "previous"
DEFAULT_CANDIDATE = "current"
