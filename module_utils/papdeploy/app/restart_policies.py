"""Remember restart policies: the engine must not revive a stopped API, which gets its policy back with its start."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..core.durable import private_folder, write_durably
from ..core.errors import PapError, VerificationFailed
from ..core.records import plain, read_known
from ..sites.docker.records import Policy


@dataclass(frozen=True)
class PolicyMemo:
    """Restart policies by container id, in one small file that is replaced whole and fsynced before a policy is taken
    off. It outlives a killed run: the next one still knows what to give back."""

    path: Path

    def all(self) -> dict[str, Policy]:
        try:
            found = json.loads(self.path.read_text(encoding="utf-8"))
            return {container: read_known(Policy, policy) for container, policy in found.items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, AttributeError, PapError) as error:
            raise VerificationFailed(
                f"{self.path}, which keeps the restart policies of stopped containers, cannot be read: {error}.",
                hint="Set the policies by hand (docker update --restart=…), then remove the file.",
            ) from error

    def remember(self, container: str, policy: Policy) -> None:
        self._write({**self.all(), container: policy})

    def forget(self, container: str) -> None:
        kept = self.all()
        if kept.pop(container, None) is not None:
            self._write(kept)

    def _write(self, policies: Mapping[str, Policy]) -> None:
        private_folder(self.path.parent)
        write_durably(self.path, json.dumps(plain(policies), indent=1).encode())
