"""Pack this project's Python package on the controller, once per content."""

from __future__ import annotations

import base64
import hashlib
import io
import zipfile
from pathlib import Path
from typing import Any

from ansible.plugins.lookup import LookupBase

DOCUMENTATION = r"""
name: pap_package
short_description: This project's Python package as an archive
version_added: "0.1.0"
author: pap-deploy authors
description:
  - Returns the package C(papdeploy) as a zip in Base64, with the digest of its content, for M(pap_package) to unpack.
options: {}
"""

EXAMPLES = r"""
- name: Say which code would be sent
  ansible.builtin.debug:
    msg: "{{ lookup('pap_package').digest }}"
"""

RETURN = r"""
_raw:
  description: C(digest) of the content and C(archive), a zip in Base64.
  type: list
  elements: dict
"""

HOME = Path(__file__).resolve().parents[2] / "module_utils"


class LookupModule(LookupBase):
    def run(self, terms: Any, variables: Any = None, **kwargs: Any) -> list[Any]:
        digest = hashlib.sha256()
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for path in sorted((HOME / "papdeploy").rglob("*.py")):
                name, data = path.relative_to(HOME).as_posix(), path.read_bytes()
                digest.update(f"{name}\0{len(data)}\0".encode() + data)
                archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
        return [{"digest": digest.hexdigest()[:16], "archive": base64.b64encode(buffer.getvalue()).decode()}]
