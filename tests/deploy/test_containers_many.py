"""deploy/compose/full.yaml and the pods of the chart in containers, of the images that are built here. Needs what compose.yaml does."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from scripts.demo import main_job
from tests.deploy.engine import PATIENCE_S, Project, assert_calm, build_stand_ins, need_images
from tests.deploy.pods import Pods
from tests.servers import ROOT, free_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

STAND_INS = Path(__file__).parent / "stand_ins" / "compose.yaml"
PROMETHEUS = "import urllib.request; print(urllib.request.urlopen('http://prometheus:9090/api/v1/targets').read().decode())"


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Project, str]]:
    """What many machines need, with servers of Debian's in the places of those that a registry has."""
    need_images()
    folder = tmp_path_factory.mktemp("full")
    build_stand_ins(folder)
    address = f"127.0.0.1:{free_port()}"
    names = ["VOXIFY_JWT_SECRET", "POSTGRES_PASSWORD", "REDIS_PASSWORD", "RABBITMQ_PASSWORD", "OBJECTS_SECRET_KEY", "GARAGE_RPC_SECRET"]
    variables = {name: secrets.token_hex(32) for name in [*names, "GRAFANA_PASSWORD"]}
    variables |= {"OBJECTS_ACCESS_KEY": f"GK{secrets.token_hex(16)}", "API_ADDRESS": address}
    files = [ROOT / "compose.yaml", ROOT / "deploy" / "compose" / "full.yaml", STAND_INS]
    project = Project(folder, files, variables, without=frozenset({"grafana"}))
    try:
        project.up()
        for service in ("api", "inference", "worker", "beat", "prometheus"):
            project.wait(service, "service_healthy")
        yield project, f"http://{address}"
    finally:
        project.down()


def test_all_parts_work_together(full: tuple[Project, str], tmp_path: Path) -> None:
    project, url = full
    parts = httpx.get(f"{url}/health/ready").json()["data"]["parts"]
    assert {part["status"] for part in parts.values()} == {"ok"}, parts
    assert main_job(url, tmp_path / "speech.wav").read_bytes()[:4] == b"RIFF"
    for service in ("api", "worker", "beat", "inference"):
        assert_calm(project.log(service))
    # A worker did it, and nothing of it lies in the container of the API.
    assert '"job ended"' in project.log("worker")
    assert '"job ended"' not in project.log("api")
    kept = project.inside("api", "find", "/data", "-type", "f").stdout
    assert ".wav" not in kept
    assert "voxify.db" not in kept


def test_prometheus_finds_every_tier(full: tuple[Project, str]) -> None:
    project, _ = full
    all_well = {("voxify-api", "up"), ("voxify-worker", "up"), ("voxify-inference", "up")}
    deadline = time.monotonic() + PATIENCE_S
    found = None
    # It looks up names every half minute, and asks what it finds every quarter.
    while found != all_well and time.monotonic() < deadline:
        targets = json.loads(project.inside("api", "python", "-c", PROMETHEUS).stdout)["data"]["activeTargets"]
        found = {(target["labels"]["job"], target["health"]) for target in targets}
    assert found == all_well, targets


def test_the_doctor_is_content(full: tuple[Project, str]) -> None:
    project, _ = full
    said = project.inside("api", "voxify", "doctor", check=False)
    assert said.returncode == 0, said.stdout + said.stderr


def test_the_pods_of_the_chart_do_all_of_it_too(full: tuple[Project, str], tmp_path: Path) -> None:
    """On the stores of the project, whose own containers of Voxify have ended."""
    project, _ = full
    for service in ("api", "worker", "beat", "inference"):
        project.podman("stop", "--time", "60", project.container(service))
        assert project.state(service)["ExitCode"] == 0, project.log(service)[-2000:]
    settings = project.services["worker"]["environment"]
    # What docs/deploy.md puts into the Secret, and where the store of objects is.
    names = ["JWT_SECRET", "DATABASE_URL", "BROKER_URL", "REDIS_URL", "OBJECTS_ACCESS_KEY", "OBJECTS_SECRET_KEY", "OBJECTS_ENDPOINT"]
    pods = Pods(project, {f"VOXIFY_{name}": settings[f"VOXIFY_{name}"] for name in names})
    assert set(pods.specs) > {"voxify-api", "voxify-beat", "voxify-inference", "voxify-worker-speech", "voxify-worker-background"}
    try:
        pods.up()
        for pod in pods.specs:
            if "migrate" in pod:
                assert project.podman("wait", pods.container(pod)).stdout.split() == ["0"], pods.log(pod)
            else:
                pods.wait_until_well(pod)
        sound = main_job(f"http://{pods.address('voxify-api')}:8000", tmp_path / "speech.wav").read_bytes()
        assert sound[:4] == b"RIFF"
        for pod in pods.specs:
            assert_calm(pods.log(pod))
    finally:
        pods.down()
