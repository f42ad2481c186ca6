"""An engine of containers that the tests start themselves: Podman, which needs no service, with the images of `deploy/build.sh`.

Podman's own health checks want systemd, and this version of podman-compose does not wait for them: both are done here, by what the files of
Compose say. `python -m tests.deploy.engine` ends with 0 where containers can be run.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.servers import ROOT, need

OUT = ROOT / "build" / "images"
STORE = ["--root", str(OUT / "storage"), "--runroot", str(OUT / "run")]
PODMAN_COMPOSE = "podman-compose==1.6.0"
PATIENCE_S = 120
# runc and explicit limits, because crun refuses control groups of two versions at once, and both refuse limits above those of their parent.
CONFIG = """\
[containers]
default_ulimits = ["nofile=16384:16384", "nproc=16384:16384"]
log_driver = "k8s-file"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
tmp_dir = "{tmp}"
[network]
network_config_dir = "{networks}"
"""


def run(
    command: Sequence[str | Path], *, timeout: float = 300, check: bool = True, stdin: str = "", **env: str
) -> subprocess.CompletedProcess[str]:
    """A command with its output; AssertionError with all that it said when it fails."""
    done = subprocess.run(
        [*command], capture_output=True, text=True, check=False, timeout=timeout, cwd=ROOT, input=stdin, env=os.environ | env
    )
    assert done.returncode == 0 or not check, f"{command} ended with {done.returncode}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done


def buildah(*arguments: str) -> str:
    """What buildah says to that, about the images of `deploy/build.sh`."""
    return run(["buildah", *STORE, *arguments]).stdout.strip()


@cache
def build(name: str) -> str:
    """The image of that name, built as where there is no Docker engine: its name with the version. Built once in a run of the tests."""
    need(shutil.which("buildah") and shutil.which("mmdebstrap") and os.geteuid() == 0, "buildah, mmdebstrap or root")
    return run([ROOT / "deploy" / "build.sh", name], timeout=1700).stdout.splitlines()[-1].split(",")[0]


def build_stand_ins(folder: Path) -> None:
    """The image ``localhost/stand-ins``: the servers beside Voxify, of Debian's packages."""
    root = folder / "root.tar"
    packages = "postgresql-15,redis-server,rabbitmq-server,prometheus,python3,wget"
    # Nothing is started in there, and what starts at boot has no business in a container.
    run(["mmdebstrap", "--quiet", "--variant=essential", f"--include={packages}", "bookworm", root], timeout=900)
    python = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", "3.11"]
    run([*python, "--target", folder / "moto", "--constraints", "requirements/dev.txt", "moto[server]"], timeout=600)
    made = buildah("from", "scratch")
    for source, target in ((root, "/"), (folder / "moto", "/opt/moto")):
        buildah("add", "--quiet", made, str(source), target)
    paths = "/usr/lib/postgresql/15/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    buildah("config", "--env", f"PATH={paths}", made)
    buildah("commit", "--quiet", "--rm", made, "localhost/stand-ins")
    root.unlink()


def configured(folder: Path, own: Path) -> dict[str, str]:
    """The environment in which podman works; its file of configuration is put into `folder`, and all that it writes into `own`."""
    path = folder / "containers.conf"
    path.write_text(CONFIG.format(tmp=own / "libpod", networks=own / "networks"))
    return {"CONTAINERS_CONF": str(path), "DISABLE_HC_SYSTEMD": "true"}


def runs_containers() -> str | None:
    """Why no container can be run here; None where one can, in a network."""
    if os.geteuid() != 0:
        return "the tests do not run as root"
    paths = f"{os.environ.get('PATH', '')}:/usr/lib/podman"
    for program in ("podman", "runc", "catatonit", "busybox", "netavark", "aardvark-dns", "iptables"):
        if shutil.which(program, path=paths) is None:
            return f"there is no {program}"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        root = folder / "root"
        (root / "bin").mkdir(parents=True)
        shutil.copy(str(shutil.which("busybox")), root / "bin" / "busybox")
        environment = configured(folder, folder)
        # A driver that mounts nothing: the folder goes with all that is in it.
        podman = ["podman", "--storage-driver", "vfs", "--root", str(folder / "storage"), "--runroot", str(folder / "run")]
        command = [*podman, "run", "--rm", "--network", "podman", "--rootfs", str(root), "/bin/busybox", "ip", "link", "show", "eth0"]
        tried = run(command, check=False, **environment)
    return None if tried.returncode == 0 else tried.stderr


def assert_calm(log: str) -> None:
    """Nothing in the log tells of what should not happen."""
    bad = [line for line in log.splitlines() if line.startswith("Traceback") or '"level":"error"' in line or "CRITICAL" in line]
    assert not bad, "\n".join(bad)[:4000]


def need_images() -> None:
    """Skip or fail the test where no container can run; else both images are there when this returns."""
    why_not = runs_containers()
    need(why_not is None, f"an engine of containers ({why_not})")
    for name in ("api", "inference"):
        build(name)


@dataclass
class Project:
    """Services of Compose in containers, made by podman-compose and started in the order that their `depends_on` asks for.

    Args:
        folder: for configuration and variables.
        files: of Compose, laid one over another.
        variables: for the ``${…}`` in them.
        without: services that are left out.
    """

    folder: Path
    files: Sequence[Path]
    variables: Mapping[str, str]
    without: frozenset[str] = frozenset()
    name: str = "voxify-test"
    environment: dict[str, str] = field(init=False)
    services: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.environment = configured(self.folder, OUT / "engine")
        (self.folder / "env").write_text("".join(f"{name}={value}\n" for name, value in self.variables.items()))
        whole = yaml.safe_load(self.compose("config").stdout)
        self.services = {name: service for name, service in whole["services"].items() if name not in self.without}
        # Without what depends on what: this version of podman loses its way among it.
        loose = {name: {key: value for key, value in service.items() if key != "depends_on"} for name, service in self.services.items()}
        text = yaml.safe_dump(whole | {"services": loose}).replace("$", "$$").replace("- ./", f"- {ROOT}/")
        (self.folder / "compose.yaml").write_text(text)
        self.files = [self.folder / "compose.yaml"]

    def compose(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        tool = [sys.executable, "-m", "uv", "tool", "run", "--quiet", "--from", PODMAN_COMPOSE, "podman-compose"]
        options = ["--project-name", self.name, "--env-file", str(self.folder / "env"), "--podman-args", " ".join(STORE)]
        options += ["--in-pod", "false"]  # a network for each container, as with Docker
        files = [part for file in self.files for part in ("--file", str(file))]
        return run([*tool, *options, *files, *arguments], timeout=PATIENCE_S, **self.environment)

    def podman(self, *arguments: str, check: bool = True, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return run(["podman", *STORE, *arguments], check=check, stdin=stdin, **self.environment)

    def container(self, service: str) -> str:
        return f"{self.name}_{service}_1"

    def up(self) -> None:
        """Start all, each after what it depends on is as its condition says. What a run left that was killed goes first."""
        self.down()
        self.compose("up", "--no-start", *self.services)
        waiting = list(self.services)
        while waiting:
            ready = [each for each in waiting if not set(self.services[each].get("depends_on", {})) & set(waiting)]
            assert ready, f"{waiting} wait for one another"
            for each in ready:
                for needed, how in self.services[each].get("depends_on", {}).items():
                    if needed in self.services:
                        self.wait(needed, how["condition"])
                self.podman("start", self.container(each))
                waiting.remove(each)

    def wait(self, service: str, condition: str) -> None:
        """Return when the service is as a `condition` of Compose says; AssertionError with its log when it never is."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            state = self.state(service)
            if condition == "service_healthy":
                met = self.podman("healthcheck", "run", self.container(service), check=False).returncode == 0
            elif condition == "service_completed_successfully":
                met = state["Status"] == "exited" and state["ExitCode"] == 0
            else:
                met = state["Status"] == "running"
            if met:
                return
            # One that is to be healthy may start again.
            over = time.monotonic() > deadline or (state["Status"] == "exited" and condition != "service_healthy")
            assert not over, f"{service} is not {condition}: {state}\n{self.log(service)[-4000:]}"
            time.sleep(0.5)

    def state(self, service: str) -> dict[str, Any]:
        return dict(json.loads(self.podman("inspect", "--format", "{{json .State}}", self.container(service)).stdout))

    def log(self, service: str) -> str:
        done = self.podman("logs", self.container(service), check=False)
        return done.stdout + done.stderr

    def inside(self, service: str, *command: str, check: bool = True, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """A command in the container of a service."""
        return self.podman("exec", "--interactive", self.container(service), *command, check=check, stdin=stdin)

    def down(self) -> None:
        """End and remove all of it, with what it kept."""
        self.compose("down", "--volumes", "--timeout", "5")


if __name__ == "__main__":
    sys.exit(runs_containers())
