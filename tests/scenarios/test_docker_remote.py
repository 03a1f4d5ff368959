"""A target host over SSH with the engine there: a real sshd on loopback, a throw-away key, a controller without Docker."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pap_images
import pap_stack
import pytest
from support import ROOT

pytestmark = pytest.mark.docker

PYTHON = Path(sys.base_prefix) / "bin" / "python3"  # of the target host: not the controller's environment
INVENTORY = """
staging:
  hosts:
    shop:
      ansible_host: 127.0.0.1
      ansible_port: {port}
      ansible_user: {user}
      ansible_ssh_private_key_file: {home}/key
      ansible_ssh_common_args: -o UserKnownHostsFile={home}/known_hosts -o StrictHostKeyChecking=yes -o IdentitiesOnly=yes
      ansible_remote_tmp: {home}/remote-tmp
      pap_environment: staging
      pap_state_dir: {home}/state
      pap_db_container: {stack.db}
      pap_api_container: {stack.api}
      pap_api_image: pap-test/cc-pap-api:current
      pap_migrations_dirs: ["{root}/migrations"]
      pap_models: [app.models, app.models_config]
      pap_smoke_username: admin
      pap_smoke_password: {password}
"""


@dataclass
class Remote:
    home: Path
    stack: pap_stack.Stack

    def play(self, playbook: str, *settings: str) -> subprocess.CompletedProcess[str]:
        """Run a playbook from a controller that has no engine."""
        extra = [word for setting in settings for word in ("-e", setting)]
        program = Path(sys.executable).parent / "ansible-playbook"
        argv: list[str | Path] = [program, "-i", self.home / "hosts.yml", playbook, *extra]
        env = {**os.environ, "DOCKER_HOST": "unix:///nonexistent/docker.sock", "ANSIBLE_NOCOLOR": "1"}
        return subprocess.run(argv, cwd=ROOT, env=env, capture_output=True, text=True, timeout=540)


@pytest.fixture(scope="module")
def remote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Remote]:
    sshd = shutil.which("sshd") or "/usr/sbin/sshd"
    if not Path(sshd).exists():
        if os.environ.get("PAP_REQUIRE_DOCKER"):
            raise AssertionError("sshd is not installed")
        pytest.skip("sshd is not installed")
    home = tmp_path_factory.mktemp("ssh")
    home.chmod(0o700)
    for name in ("key", "host_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", home / name], check=True)
    shutil.copy(home / "key.pub", home / "authorized_keys")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    host_key = (home / "host_key.pub").read_text()
    (home / "known_hosts").write_text(f"[127.0.0.1]:{port} {host_key}")
    settings = {
        "Port": port,
        "ListenAddress": "127.0.0.1",
        "HostKey": home / "host_key",
        "AuthorizedKeysFile": home / "authorized_keys",
        "PidFile": home / "pid",
        "StrictModes": "no",  # the folders above are the test runner's
        "PasswordAuthentication": "no",
        "PermitRootLogin": "prohibit-password",
        "UsePAM": "no",
        "Subsystem": "sftp internal-sftp",
    }
    (home / "sshd_config").write_text("".join(f"{key} {value}\n" for key, value in settings.items()))
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    with (home / "sshd.log").open("w") as log:
        server = subprocess.Popen([sshd, "-D", "-e", "-f", home / "sshd_config"], stdout=log, stderr=log)
    stack = pap_stack.Stack(f"remote{os.getpid()}")
    try:
        _wait_for(port, server, home / "sshd.log")
        stack.up(percent=20)
        pap_images.api_image(stack.engine, "current")
        values = {"port": port, "user": getpass.getuser(), "home": home, "stack": stack, "password": pap_stack.PASSWORD}
        (home / "hosts.yml").write_text(INVENTORY.format(root=ROOT, **values))
        yield Remote(home, stack)
    finally:
        server.terminate()
        server.wait(20)
        stack.down()


@pytest.mark.nightly
@pytest.mark.timeout(900)
def test_a_stack_behind_ssh_is_deployed_and_taken_back(remote: Remote) -> None:
    """With the SDK in a virtual environment that the role makes there, and nothing of Docker on the controller."""
    venv = remote.home / "venv"
    prepared = remote.play(
        "playbooks/prepare_docker_hosts.yml",
        "docker_sdk_method=venv",
        f"docker_sdk_venv={venv}",
        "docker_sdk_become=false",
        f"docker_sdk_python={PYTHON}",
        f"ansible_python_interpreter={PYTHON}",
    )
    assert prepared.returncode == 0, prepared.stdout + prepared.stderr
    interpreter = f"ansible_python_interpreter={venv}/bin/python"
    quick = ("pap_rehearse=false", "watch_enabled=false", f"report_folder={remote.home}/reports", interpreter)
    policies = remote.stack.sql("SELECT count(*), md5(string_agg(name, ',' ORDER BY id)) FROM policies")

    done = remote.play("deploy.yml", *quick)
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"release":"current"' in remote.stack.get("/version")[1]
    assert remote.stack.sql("SELECT count(*) FROM opal_configuration") == "0"
    assert remote.stack.sql("SELECT count(*), md5(string_agg(name, ',' ORDER BY id)) FROM policies") == policies

    again = remote.play("deploy.yml", *quick)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "changed=0" in again.stdout

    back = remote.play("rollback.yml", *quick)
    assert back.returncode == 0, back.stdout + back.stderr
    assert '"release":"previous"' in remote.stack.get("/version")[1]
    assert remote.stack.sql("SELECT count(*), md5(string_agg(name, ',' ORDER BY id)) FROM policies") == policies


@pytest.mark.timeout(300)
def test_a_target_without_the_sdk_says_what_to_install(remote: Remote) -> None:
    """A Python that cannot import it: the first sentence names what is missing, the next what to do."""
    bare = remote.home / "bare"
    subprocess.run([PYTHON, "-m", "venv", "--without-pip", bare], check=True)
    done = remote.play("deploy.yml", f"ansible_python_interpreter={bare}/bin/python")
    assert done.returncode != 0
    assert "The Docker SDK for Python cannot be imported" in done.stdout
    assert "python3-docker" in done.stdout
    assert '"release":"previous"' in remote.stack.get("/version")[1]


def _wait_for(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            assert server.poll() is None and time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        else:
            return
