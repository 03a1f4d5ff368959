"""What the check of the data finds to be lost is known to the rollback that follows, whatever that can still read."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from papdeploy.core.records import plain
from papdeploy.databases.relation_losses import Loss
from papdeploy.phases.data_check import DataLost, noted_in
from papdeploy.releases.journal import State
from papdeploy.releases.run import Run
from papdeploy.rollback import Facts

LOST = (
    Loss("public.policies", "gone", before=5000, rows=5000),
    Loss("public.peps", "deleted", before=10, after=4, rows=6),
)


@pytest.mark.parametrize("lost", [LOST, ()], ids=["lost", "nothing lost"])
def test_a_loss_that_ended_the_deploy_is_noted_for_its_rollback(tmp_path: Path, lost: tuple[Loss, ...]) -> None:
    journal = State(tmp_path / "state").begin(Run(user="jo", host="here"), stack="pap", environment="staging")
    with journal.checkpoint("data_check", when="when it started"):
        pass
    if lost:
        with pytest.raises(DataLost), journal.checkpoint("data_check", when="before it finished"):
            raise DataLost("The release lost data.", hint="It is to be restored.", lost=plain(lost))
    stack: Any = SimpleNamespace(may_delete=("public.sessions",), environment="staging")
    noted = noted_in(Facts(journal.release), journal, stack)
    assert noted.noted == lost
    assert noted.may_delete == ("public.sessions",) and noted.deploying
