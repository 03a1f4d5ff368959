"""The schema check as the command line of the migrations uses it: the models' catalog, and what the database lacks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Optional

if TYPE_CHECKING:
    from ...schema.catalog.rows import Catalog
    from ...schema.differences.comparison import Comparison
    from ...schema.repair.order import Dependencies, Step


def configured(specs: Sequence[str]) -> Any:
    """The configuration file of the schema check, with ``specs`` (``app.models:Base``) in the place of its models."""
    from ...schema.cli.configuration import load_configuration

    configuration = load_configuration()
    configuration.models = [spec for spec in specs if spec] or configuration.models
    return configuration


def check_options(configuration: Any) -> dict[str, Any]:
    """The options of the schema check that the configuration file sets, as CheckOptions.from_dict takes them."""
    names = ("ignore", "allow", "fail_on", "severities", "owner", "schema", "used_by")
    return {name: value for name in names if (value := getattr(configuration, name))}


def expected_catalog(configuration: Any, url: str, scratch_url: Optional[str] = None) -> Catalog:
    """The catalog of the configured models, made in a scratch database on ``scratch_url``.

    Without ``scratch_url``, here or in the file, the server of ``url`` is used; the scratch database is dropped again.
    """
    from ...schema import load_models
    from ...schema.models.scratch_database import expected_on

    models = load_models(configuration.models, configuration.path or None, extensions=configuration.extensions)
    catalog, _ = expected_on(models, scratch_url or configuration.scratch_url or url)
    return catalog


def repairs(
    specs: Sequence[str], url: str, scratch_url: Optional[str] = None, renamed: Sequence[str] = ()
) -> tuple[Plan, Plan]:
    """How the database at ``url`` gets what it lacks of the models, and the downgrade from there.

    ``renamed``: old=new, as ``--rename`` gives it.
    """
    from ...schema import CheckOptions, describe
    from ...schema.catalog.connect import open_session
    from ...schema.checker import scope
    from ...schema.differences.catalogs import compared
    from ...schema.differences.options import renames
    from .large_tables import large_tables

    configuration = configured(specs)
    options = replace(CheckOptions.from_dict(check_options(configuration)), renames=renames(renamed), guess=False)
    expected = expected_catalog(configuration, url, scratch_url)
    with open_session(url) as session:
        actual = describe(session, *scope(expected), dependencies=True)
        large = large_tables(session, actual)
    up = Plan.of(compared(expected, actual, options), large)
    back = replace(options, undo=True, renames={new: old for old, new in options.renames.items()})
    return up, Plan.of(compared(actual, _owned(expected), back), large)


@dataclass(frozen=True)
class Plan:
    """Steps in their order, and what decides which of them must follow which. ``large``: tables, with their key."""

    steps: list[Step]
    wanted: Dependencies
    present: Dependencies
    large: dict[str, str]

    @classmethod
    def of(cls, work: Comparison, large: dict[str, str]) -> Plan:
        from ...schema.repair.planner import Planner

        planner = Planner(work, work.differences)
        return cls(planner.steps(), planner.places.wanted, planner.places.present, large)

    def following(self, chosen: Sequence[Step]) -> set[int]:
        """The ids of ``chosen`` and of the steps that must come after one of them."""
        from ...schema.repair.order import after_steps

        return after_steps(chosen, self.steps, self.wanted, self.present)


def _owned(catalog: Catalog) -> Catalog:
    """The models' catalog in the place of a live one: of that, the comparison wants an owner with every object."""
    sections = ("schemas", "relations", "sequences", "types", "functions", "statistics")
    owned: dict[str, Any] = {name: tuple(replace(row, owner="") for row in getattr(catalog, name)) for name in sections}
    return replace(catalog, **owned)
