"""Remember restart policies: the engine must not revive a stopped API, which gets its policy back with its start."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..core.durable import private_folder, write_durably
from ..core.errors import PapError

Policy = dict[str, Any]


@dataclass(frozen=True)
class PolicyMemo:
    """Restart policies by container id, in one small file that is replaced whole and fsynced before a policy is taken
    off. It outlives a killed run: the next one still knows what to give back."""

    path: Path

    def all(self) -> dict[str, Policy]:
        try:
            found: dict[str, Policy] = json.loads(self.path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise PapError(
                f"{self.path}, which keeps the restart policies of stopped containers, cannot be read: {error}.",
                hint="Set the policies by hand (docker update --restart=…), then remove the file.",
            ) from error
        return found

    def remember(self, container: str, policy: Mapping[str, Any]) -> None:
        self._write({**self.all(), container: dict(policy)})

    def forget(self, container: str) -> None:
        kept = self.all()
        if kept.pop(container, None) is not None:
            self._write(kept)

    def _write(self, policies: Mapping[str, Policy]) -> None:
        private_folder(self.path.parent)
        write_durably(self.path, json.dumps(policies, indent=1).encode())
