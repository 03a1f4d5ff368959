#!/usr/bin/env python3
"""Put a file into the pull request as one comment, which each later run brings up to date. Needs nothing but Python.

    python docs/ci/comment.py github plan.md    # GITHUB_API_URL, GITHUB_REPOSITORY, PULL_REQUEST, GITHUB_TOKEN
    python docs/ci/comment.py gitlab plan.md    # CI_API_V4_URL, CI_PROJECT_ID, CI_MERGE_REQUEST_IID, PLAN_TOKEN

Exit codes: 0 the comment is there, or the file or the token for it is missing (it says which); 1 the host refused;
2 the host could not be reached, or it is not said which host.
"""

from __future__ import annotations

import json
import os
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Optional

DONE, REFUSED, UNREACHED = 0, 1, 2
MARK = "<!-- pap-deploy: plan of the migrations -->"
LONGEST = 60_000  # characters; GitHub takes 65,536
PAGE = 100


class Host:
    """The comments of one pull request; the method with which each host changes one differs."""

    def __init__(self, name: str) -> None:
        if name == "github":
            base, token = os.environ["GITHUB_API_URL"], "GITHUB_TOKEN"
            issues = f"{base}/repos/{os.environ['GITHUB_REPOSITORY']}/issues"
            self.all = f"{issues}/{os.environ['PULL_REQUEST']}/comments"
            self.one, self.edit, header, form = f"{issues}/comments", "PATCH", "Authorization", "Bearer {}"
        else:
            base, token = os.environ["CI_API_V4_URL"], "PLAN_TOKEN"
            request = f"projects/{os.environ['CI_PROJECT_ID']}/merge_requests/{os.environ['CI_MERGE_REQUEST_IID']}"
            self.all = self.one = f"{base}/{request}/notes"
            self.edit, header, form = "PUT", "PRIVATE-TOKEN", "{}"
        self.token = os.environ.get(token, "")
        self.headers = {header: form.format(self.token), "Content-Type": "application/json", "User-Agent": "pap-deploy"}

    def ask(self, method: str, url: str, body: Optional[dict[str, str]] = None) -> Any:
        data = json.dumps(body).encode() if body else None
        request = urllib.request.Request(url, data, self.headers, method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)

    def mine(self) -> Optional[int]:
        """The id of the comment of an earlier run."""
        number = 1
        while True:
            page = self.ask("GET", f"{self.all}?per_page={PAGE}&page={number}")
            for comment in page:
                if str(comment["body"]).startswith(MARK):
                    return int(comment["id"])
            if len(page) < PAGE:
                return None
            number += 1

    def put(self, text: str) -> str:
        found = self.mine()
        if found is None:
            self.ask("POST", self.all, {"body": text})
            return "made"
        self.ask(self.edit, f"{self.one}/{found}", {"body": text})
        return "brought up to date"


def main(arguments: list[str]) -> int:
    if len(arguments) != 2 or arguments[0] not in ("github", "gitlab"):
        print(__doc__, file=sys.stderr)
        return UNREACHED
    path = Path(arguments[1])
    if not path.is_file():
        print(f"comment: there is no {path}: nothing to say")
        return DONE
    text = f"{MARK}\n{path.read_text(encoding='utf-8')}"
    if len(text) > LONGEST:
        text = text[:LONGEST] + "\n```\n\nThe rest is too long for a comment."
    try:
        host = Host(arguments[0])
        if not host.token:
            print("comment: there is no token: the plan is an artifact only")
            return DONE
        print(f"comment: {host.put(text)}")
    except KeyError as error:
        print(f"comment: {error.args[0]} is not set", file=sys.stderr)
        return UNREACHED
    except urllib.error.HTTPError as error:
        print(f"comment: the host refused: {error.code} {error.reason}", file=sys.stderr)
        return REFUSED
    except (OSError, ValueError) as error:
        print(f"comment: no answer of the host: {error}", file=sys.stderr)
        return UNREACHED
    return DONE


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
