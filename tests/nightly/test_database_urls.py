"""Every database URL of the corpus through a whole status, a whole check and a trial."""

from __future__ import annotations

from typing import Any

import pytest
from integration.databases import test_urls as short

any_url = short.any_url


@pytest.mark.parametrize("case", short.READ, ids=lambda case: case["url"])
def test_status_check_and_trial(any_url: Any, case: dict[str, Any]) -> None:
    short.through_everything(any_url, case)
