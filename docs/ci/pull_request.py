#!/usr/bin/env python3
"""Check the migrations of a pull request, from a checkout of pap-deploy that is installed (pip install ./pap-deploy).

    python docs/ci/pull_request.py --base origin/main --database-url postgresql://postgres:postgres@localhost/ci

1. A migration that was merged before was not edited or removed.
2. Lint of the new migrations, with annotations on their lines.
3. A database at the previous release: --previous, or the migrations of --base on the empty database.
4. Each new migration applies, reverts to exactly the schema before, and applies again to exactly the same.
5. The schema matches the models (--models).
6. The plan's SQL as a comment (--comment FILE), whatever the outcome.
7. Staging's receipt is for exactly this (--receipts), for the branch that production deploys from.

Exit codes: 0 all is well; 1 lint; 2 it could not be checked; 3 a migration does not apply; 4 it does not revert, or not
to what was there; 5 applied again it gives another schema; 6 the models do not match; 7 a merged migration was changed;
8 no receipt. Everything that can be found out is said; the first that went wrong is the exit code.

The database is filled: give it an empty one of its own. Needs papdeploy and the app's SQLAlchemy and driver.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

LINT, UNCHECKED, NOT_APPLIED, NOT_REVERTED, NOT_REPEATABLE, DIFFERS, EDITED, NO_RECEIPT = range(1, 9)
SKIPPED = ("migration_template.py",)


class Failed(Exception):
    """What is wrong, with the exit code for it and the file to look at."""

    def __init__(self, code: int, message: str, file: str = "") -> None:
        super().__init__(message)
        self.code, self.file = code, file


def main(arguments: list[str]) -> int:
    options = parser().parse_args(arguments)
    os.environ["DATABASE_URL"] = options.database_url
    say = Reporter(options.format, options.code_quality)
    try:
        work(options, say)
    except Failed as error:
        say.error(error)
    finally:
        say.close()
    if not say.code:
        print("pull request: the migrations are good")
    return say.code


def work(options: argparse.Namespace, say: Reporter) -> None:
    """All steps. An edit and the lint's findings leave the rest worth looking at; any other failure ends it."""
    folder = Path(options.migrations)
    merged = at_base(options.base, folder)
    here = {p.name: p.read_text(encoding="utf-8") for p in sorted(folder.glob("*.py")) if p.name not in SKIPPED}
    edited = [name for name, text in merged.items() if here.get(name) != text]
    if edited:
        changed = f"merged before, and changed here: {', '.join(edited)}. Write a new migration instead."
        say.error(Failed(EDITED, changed, str(folder / edited[0])))
    new = [name for name in here if name not in merged]
    if new:
        lint(options, [str(folder / name) for name in new], say)
        with tempfile.TemporaryDirectory() as name:
            rehearse(options, Path(name), merged, {name: here[name] for name in new})
    if options.models:
        check_models(options)
    if options.receipts:
        check_receipt(options, here)


def at_base(base: str, folder: Path) -> dict[str, str]:
    """The migrations as they are at ``base``."""
    prefix = git("rev-parse", "--show-prefix").strip()
    listed = git("ls-tree", "-r", "--name-only", base, f"{folder}/").splitlines()
    names = [name for name in listed if name.endswith(".py") and Path(name).name not in SKIPPED]
    return {Path(name).name: git("show", f"{base}:{prefix}{name}") for name in names}


def git(*words: str) -> str:
    done = subprocess.run(["git", *words], capture_output=True, text=True)
    if done.returncode != 0:
        raise Failed(UNCHECKED, f"git {words[0]} failed: {done.stderr.strip()} (is --base fetched?)")
    return done.stdout


def papdeploy(command: str, *words: str, code: int = UNCHECKED, file: str = "") -> str:
    """Run the command line of papdeploy; a failure ends the check with ``code``."""
    done = subprocess.run([sys.executable, "-m", "papdeploy", command, *words], capture_output=True, text=True)
    if done.returncode != 0:
        said = (done.stderr.strip() or done.stdout.strip())[-3000:]
        # 2 is the tool's own word for: could not be done, for example no connection.
        raise Failed(UNCHECKED if done.returncode == 2 else code, f"{command}: {said}", file)
    return done.stdout


def lint(options: argparse.Namespace, files: list[str], say: Reporter) -> None:
    found = json.loads(papdeploy("lint", "--offline", "--fail-on", "never", "--format", "json", *files))
    weight = {"note": 0, "warning": 1, "error": 2, "never": 3}
    bad = False
    for item in found["findings"]:
        if not item["suppressed"]:
            say.finding(item)
            bad = bad or weight[item["severity"]] >= weight[options.fail_on]
    if bad:
        say.error(Failed(LINT, f"lint found what counts as {options.fail_on} or worse", files[0]))


def rehearse(options: argparse.Namespace, work: Path, merged: dict[str, str], new: dict[str, str]) -> None:
    """Apply, revert and apply each new migration, and compare the schema at every step."""
    for name, text in merged.items():
        (work / name).write_text(text, encoding="utf-8")
    migrations = ["--migrations", str(work)]
    if options.previous:
        done = subprocess.run(["bash", "-euo", "pipefail", "-c", options.previous])
        if done.returncode != 0:
            raise Failed(UNCHECKED, f"--previous failed with exit code {done.returncode}")
    elif merged:
        papdeploy("migrate", *migrations)
    for name, text in new.items():
        (work / name).write_text(text, encoding="utf-8")
    if options.comment:
        write_comment(options, papdeploy("plan", *migrations, code=NOT_APPLIED), list(new))
    for name in new:
        (work / name).unlink()
    for name in ordered(work, new):
        (work / name).write_text(new[name], encoding="utf-8")
        file = f"{options.migrations}/{name}"
        before = schema(options.database_url)
        papdeploy("migrate", *migrations, code=NOT_APPLIED, file=file)
        after = schema(options.database_url)
        papdeploy("revert", *migrations, "--last", "1", code=NOT_REVERTED, file=file)
        compare(before, schema(options.database_url), NOT_REVERTED, "the revert leaves another schema", file)
        papdeploy("migrate", *migrations, code=NOT_APPLIED, file=file)
        compare(after, schema(options.database_url), NOT_REPEATABLE, "applied again it gives another schema", file)


def ordered(work: Path, new: dict[str, str]) -> list[str]:
    """The new ones in the order in which a deploy runs them."""
    from papdeploy.migrations.files import load_folder

    with tempfile.TemporaryDirectory() as name:
        for path in work.glob("*.py"):
            Path(name, path.name).write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
        for file, text in new.items():
            Path(name, file).write_text(text, encoding="utf-8")
        return [f"{m.identity}.py" for m in load_folder(Path(name)) if f"{m.identity}.py" in new]


def schema(url: str) -> dict[str, Any]:
    from papdeploy.core.errors import PapError
    from papdeploy.schema.handlers import CALLS

    try:
        catalog: dict[str, Any] = CALLS["schema.describe"]({"url": url}, lambda _: None)["catalog"]
    except PapError as error:
        raise Failed(UNCHECKED, str(error)) from error
    return catalog


def compare(before: dict[str, Any], after: dict[str, Any], code: int, what: str, file: str) -> None:
    from papdeploy.report.schema_text import diff

    changes = diff(before, after)
    if changes:
        lines = [f"{sign} {text}" for change in changes for sign, text in change.lines if sign in "+-"]
        raise Failed(code, f"{what}: {', '.join(c.object for c in changes)}\n" + "\n".join(lines[:20]), file)


def write_comment(options: argparse.Namespace, plan: str, new: list[str]) -> None:
    names = "\n".join(f"- `{name}`" for name in new)
    sql = f"<details><summary>SQL</summary>\n\n```sql\n{plan.strip()}\n```\n\n</details>"
    text = f"### Pending migrations\n\n{names}\n\n{sql}\n"
    Path(options.comment).write_text(text, encoding="utf-8")


def check_models(options: argparse.Namespace) -> None:
    words = [word for spec in options.models for word in ("--models", spec)]
    papdeploy("check", *words, "--fail-on", "error", code=DIFFERS)


def check_receipt(options: argparse.Namespace, here: dict[str, str]) -> None:
    """Would production's demand be met? The template is part of what a deploy reads."""
    from papdeploy import receipts
    from papdeploy.core.errors import PapError
    from papdeploy.releases.version import Version
    from papdeploy.schema.handlers import CALLS

    template = Path(options.migrations) / SKIPPED[0]
    with contextlib.suppress(FileNotFoundError):
        here = {**here, template.name: template.read_text(encoding="utf-8")}
    version = Version(options.release, options.release, options.release_dir or "")
    server = options.server_major * 10000 or schema(options.database_url)["database"]["server_version"]
    try:
        request = {"models": options.models, "server_version": server}
        digest = CALLS["schema.ddl"](request, lambda _: None)["digest"]
        subject = receipts.subject(
            here, models_digest=digest, version=version, server_version=server, ignore=options.release_ignore
        )
        age, holds = options.max_age_hours * 3600, options.receipt_demand
        keys = [Path(path).read_text(encoding="utf-8") for path in options.receipt_key]
        found = receipts.demand(receipts.read(Path(options.receipts), keys), subject, max_age_s=age, holds=holds)
    except PapError as error:
        raise Failed(NO_RECEIPT, str(error)) from error
    print(f"receipt: {found.environment} passed with exactly this, release {found.release}")


class Reporter:
    """What is found, as annotations of GitHub, as a code quality report of GitLab, or as text."""

    def __init__(self, form: str, code_quality: str) -> None:
        self.form, self.path, self.code = form, code_quality, 0
        self.items: list[dict[str, Any]] = []

    def finding(self, item: dict[str, Any]) -> None:
        if self.form == "github":
            kind = {"error": "error", "warning": "warning"}.get(item["severity"], "notice")
            text = f"{item['message']} Instead: {item['help']}" if item.get("help") else item["message"]
            print(f"::{kind} file={item['file']},line={item['line']},title={item['rule']}::{escaped(text)}")
        else:
            print(f"{item['file']}:{item['line']}: {item['severity']}: {item['message']} [{item['rule']}]")
        severity = {"error": "critical", "warning": "major"}.get(item["severity"], "minor")
        self._keep(item["rule"], item["message"], item["file"], item["line"], severity)

    def error(self, error: Failed) -> None:
        """The first one gives the exit code."""
        self.code = self.code or error.code
        place = f" file={error.file},line=1" if error.file else ""
        github = f"::error{place}::{escaped(str(error))}"
        print(github if self.form == "github" else f"error: {error.file}: {error}", flush=True)
        self._keep("migrations", str(error), error.file or "migrations", 1, "blocker")

    def close(self) -> None:
        if self.path:
            Path(self.path).write_text(json.dumps(self.items, indent=1), encoding="utf-8")

    def _keep(self, rule: str, message: str, file: str, line: int, severity: str) -> None:
        from hashlib import sha256

        mark = sha256(f"{rule}\0{file}\0{line}\0{message}".encode()).hexdigest()
        place = {"path": file, "lines": {"begin": line}}
        self.items.append({"description": message, "check_name": rule, "fingerprint": mark, "severity": severity,
                           "location": place})  # fmt: skip


def escaped(text: str) -> str:
    """As workflow commands of GitHub want it."""
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--base", required=True, help="what the pull request is merged into, for example origin/main")
    made.add_argument("--database-url", required=True, help="an empty database")
    made.add_argument("--migrations", default="migrations")
    made.add_argument("--previous", default="", help="shell command that builds the previous release in DATABASE_URL")
    made.add_argument("--models", action="append", default=[], metavar="MODULE[:NAME]")
    made.add_argument("--fail-on", choices=["error", "warning", "never"], default="error", help="of the lint")
    made.add_argument("--format", choices=["text", "github"], default="text")
    made.add_argument("--comment", default="", metavar="FILE", help="write the plan as Markdown")
    made.add_argument("--code-quality", default="", metavar="FILE", help="write GitLab's report")
    made.add_argument("--receipts", default="", metavar="FOLDER")
    made.add_argument("--receipt-key", action="append", default=[], metavar="FILE")
    made.add_argument("--receipt-demand", action="append", default=[], metavar="WORD", help="a word of receipt_demand")
    made.add_argument("--max-age-hours", type=float, default=168)
    made.add_argument("--release", default="", help="digest of the image that production would run")
    made.add_argument("--release-dir", default="", help="or the folder of its files")
    made.add_argument("--release-ignore", action="append", default=[], metavar="PATTERN", help="pap_api_release_ignore")
    made.add_argument("--server-major", type=int, default=0, help="of production; default: that of --database-url")
    return made


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
