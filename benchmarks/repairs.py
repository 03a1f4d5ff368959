"""How many repairs run and close, beside Alembic's autogenerate on the same pairs of schemas.

    python benchmarks/repairs.py                     # 100 generated pairs
    python benchmarks/repairs.py --pairs 400 --corpus    # and every mutation of the corpus (tests/corpus/schema)

A pair is a database and models that lie one to four changes apart (tests/support/schema_pairs.py, from a seed). ``ran``: the
script came to its end under ON_ERROR_STOP; ``closed``: the check then finds no difference; ``told``: closed, or the script
says in a remark what it leaves to a person. Alembic's operations are invoked as its migration would, types and defaults
compared.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "module_utils"), str(ROOT / "tests"), str(ROOT / "tests" / "corpus" / "schema")]

from papdeploy.schema import load_models  # noqa: E402
from support.postgres_servers import Server, start_server, stop_server  # noqa: E402
from support.schema_closing import Outcome, by_alembic, expected_by, made, repaired  # noqa: E402
from support.schema_pairs import pair  # noqa: E402


@dataclass
class Count:
    """Outcomes of one tool."""

    name: str
    pairs: int = 0
    ran: int = 0
    closed: int = 0
    told: int = 0

    def add(self, found: Outcome) -> None:
        self.pairs += 1
        self.ran += not found.error
        self.closed += found.closed
        self.told += found.honest

    def line(self) -> str:
        parts = (f"{word} {100 * getattr(self, word) / self.pairs:.1f} %" for word in ("ran", "closed", "told"))
        return f"{self.name:<24}{self.pairs:>5}  " + "  ".join(parts)


def of_pairs(server: Server, seeds: range) -> Iterator[Count]:
    ours, theirs = Count("pap-deploy, pairs"), Count("Alembic, pairs")
    for seed in seeds:
        given = pair(seed)
        for count, way in ((ours, repaired), (theirs, by_alembic)):
            database = made(server, given.database.metadata())
            count.add(way(server, given.models.metadata(), database))
            server.drop(database)
    yield ours
    yield theirs


def of_corpus(server: Server) -> Iterator[Count]:
    """The mutations of the corpus, each in a copy of its database."""
    from mutations import MUTATIONS  # type: ignore[import-not-found]

    models = load_models(["corpus_models:Base", "corpus_models:Other"], str(ROOT / "tests" / "corpus" / "schema"))
    server.sql("DO $$ BEGIN CREATE ROLE schema_other; EXCEPTION WHEN duplicate_object THEN NULL; END $$")
    template = made(server, *models.metadatas)
    expected = expected_by(server, models.metadatas)
    count = Count("pap-deploy, corpus")
    for mutation in MUTATIONS:
        if mutation.major > server.major:
            continue
        database = f"{template}_{count.pairs}"
        server.sql(f'CREATE DATABASE "{database}" TEMPLATE "{template}"')
        server.sql(mutation.sql, database)
        outcome = repaired(server, expected, database)
        count.add(outcome)
        if not outcome.honest:
            print(f"  {mutation.name}: {outcome.error or '; '.join(outcome.left)}", flush=True)
        server.drop(database)
    yield count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=100)
    parser.add_argument("--first", type=int, default=1000, help="seed of the first pair")
    parser.add_argument("--corpus", action="store_true")
    parser.add_argument("--major", type=int, default=18)
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="pap-repairs-"))
    folder.chmod(0o755)
    server = start_server(arguments.major, folder / "server")
    try:
        for count in of_pairs(server, range(arguments.first, arguments.first + arguments.pairs)):
            print(count.line(), flush=True)
        for count in of_corpus(server) if arguments.corpus else ():
            print(count.line(), flush=True)
    finally:
        stop_server(server)


if __name__ == "__main__":
    main()
