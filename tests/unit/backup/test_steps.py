"""The order in which the entries of an archive are restored, and by whom."""

from __future__ import annotations

from papdeploy.backup.steps import Owners, steps

LISTED = """\
;
215; 1259 16385 TABLE public parent alice
216; 1259 16390 TABLE public child alice
217; 1259 16395 TABLE public other bob
3450; 0 16390 TABLE DATA public child alice
3451; 0 16395 TABLE DATA public other bob
3449; 0 16385 TABLE DATA public parent alice
3301; 2606 16400 CHECK CONSTRAINT public parent not_valid alice
3302; 1259 16401 INDEX public other_i bob
3452; 0 0 ACL public TABLE parent alice
3303; 2606 16402 FK CONSTRAINT public other other_fkey bob
""".splitlines()
OWNERS = Owners({"alice": "alice", "bob": "bob", "postgres": ""})


def test_no_step_holds_rows_and_what_follows_them() -> None:
    """A parallel pg_restore may add a parent's NOT VALID constraint before it copies the rows of a child."""
    found = [(step.by, [line.split(" ", 3)[3] for line in step.entries]) for step in steps(LISTED, OWNERS)]
    assert found == [
        ("alice", ["TABLE public parent alice", "TABLE public child alice"]),
        ("bob", ["TABLE public other bob"]),
        ("alice", ["TABLE DATA public child alice", "TABLE DATA public parent alice"]),
        ("bob", ["TABLE DATA public other bob"]),
        ("alice", ["CHECK CONSTRAINT public parent not_valid alice"]),
        ("bob", ["INDEX public other_i bob"]),
        ("", ["ACL public TABLE parent alice"]),
        ("bob", ["FK CONSTRAINT public other other_fkey bob"]),
    ]


def test_one_owner_s_rows_and_constraints_are_two_steps() -> None:
    alone = steps([line for line in LISTED if "alice" in line], OWNERS)
    kinds = [[line.split(" ", 3)[3].split(" public")[0] for line in step.entries] for step in alone]
    assert kinds == [["TABLE", "TABLE", "TABLE DATA", "TABLE DATA"], ["CHECK CONSTRAINT"], ["ACL"]]
