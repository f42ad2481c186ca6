"""compose.yaml in containers, of the images that are built here. Needs root, Podman, runc and catatonit."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from scripts.demo import Person, main_job
from tests.deploy.engine import Project, assert_calm, need_images
from tests.servers import ROOT, free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Project, str]]:
    """It as it is, and the address of its API."""
    need_images()
    address = f"127.0.0.1:{free_port()}"
    variables = {"VOXIFY_JWT_SECRET": secrets.token_hex(32), "API_ADDRESS": address}
    project = Project(tmp_path_factory.mktemp("one"), [ROOT / "compose.yaml"], variables)
    try:
        project.up()
        project.wait("inference", "service_healthy")
        project.wait("api", "service_healthy")
        yield project, f"http://{address}"
    finally:
        project.down()


def test_a_voice_is_cloned_and_speaks(one: tuple[Project, str], tmp_path: Path) -> None:
    project, url = one
    sound = main_job(url, tmp_path / "speech.wav").read_bytes()
    assert sound[:4] == b"RIFF"
    assert len(sound) > 100_000
    assert_calm(project.log("api"))
    assert_calm(project.log("inference"))


@pytest.mark.parametrize("service", ["api", "inference"])
def test_nobody_in_there_may_do_much(one: tuple[Project, str], service: str) -> None:
    project, _ = one
    status = dict(line.split(":", 1) for line in project.inside(service, "cat", "/proc/1/status").stdout.splitlines())
    assert status["Uid"].split() == ["10001"] * 4
    assert {int(status[f"Cap{kind}"], 16) for kind in ("Eff", "Prm", "Bnd", "Inh", "Amb")} == {0}
    assert status["NoNewPrivs"].strip() == "1"
    assert "Read-only file system" in project.inside(service, "touch", "/opt/voxify/file", check=False).stderr
    assert project.inside(service, "touch", "/data/file", "/tmp/file").returncode == 0


def test_what_is_kept_outlives_the_containers(one: tuple[Project, str]) -> None:
    """And a command of the documents makes an administrator."""
    project, url = one
    person = Person(url)
    account = {"email": "kept@example.com", "password": f"Kept-{secrets.token_hex(8)}1!"}
    command = ["voxify", "admin", "create", "--email", account["email"], "--password-stdin"]
    project.inside("api", *command, stdin=account["password"])
    project.podman("stop", "--time", "40", project.container("api"))
    assert project.state("api")["ExitCode"] == 0, project.log("api")
    project.podman("rm", project.container("api"))
    project.compose("up", "--no-start", "api")
    project.podman("start", project.container("api"))
    project.wait("api", "service_healthy")
    person.http.headers["Authorization"] = f"Bearer {person.call('POST', '/auth/login', json=account)['access_token']}"
    assert person.call("GET", "/admin/stats")


def test_inference_ends_in_good_time(one: tuple[Project, str]) -> None:
    project, url = one
    project.podman("stop", "--time", "60", project.container("inference"))
    assert project.state("inference")["ExitCode"] == 0, project.log("inference")[-2000:]
    answer = httpx.get(f"{url}/health/ready")
    assert answer.status_code == 503
    assert answer.json()["data"]["parts"]["inference"]["status"] != "ok"
    project.podman("start", project.container("inference"))
    project.wait("inference", "service_healthy")
