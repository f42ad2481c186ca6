"""The chart, and the plain manifests that are rendered from it: valid, restricted, consistent, and with settings that Voxify takes."""

from __future__ import annotations

import copy
import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.deploy.settings_of import parse_command, settings_from
from tests.servers import ROOT, need
from worker.inference.replicas import LOOK_UP_S

Doc = dict[str, Any]

CHART = ROOT / "deploy" / "helm" / "voxify"
MANIFESTS = ROOT / "deploy" / "kubernetes"
# The oldest that the chart admits, and the newest that the validator knows.
VERSIONS = ["1.27", kubernetes_validate.latest_version()]
SECRET = {
    "VOXIFY_JWT_SECRET": "0123456789abcdef" * 4,
    "VOXIFY_DATABASE_URL": "postgresql+asyncpg://voxify:password@db/voxify",
    "VOXIFY_BROKER_URL": "amqp://voxify:password@mq:5672//",
    "VOXIFY_REDIS_URL": "redis://redis:6379/0",
}


class Renderer:
    """deploy/render, built once."""

    def __init__(self, program: Path, folder: Path) -> None:
        self._program, self._folder, self._count = program, folder, 0

    def run(self, *settings: str) -> tuple[subprocess.CompletedProcess[str], Path]:
        self._count += 1
        output = self._folder / str(self._count)
        output.mkdir()
        command = [str(self._program), str(CHART), str(output), *settings]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60), output

    def __call__(self, *settings: str) -> list[Doc]:
        ran, output = self.run("existingSecret=voxify", *settings)
        assert ran.returncode == 0, ran.stderr
        return documents(output)


def documents(folder: Path) -> list[Doc]:
    return [doc for path in sorted(folder.glob("*.yaml")) for doc in yaml.safe_load_all(path.read_text()) if doc]


@pytest.fixture(scope="module")
def renderer(tmp_path_factory: pytest.TempPathFactory) -> Renderer:
    need(shutil.which("go"), "golang-go")
    folder = tmp_path_factory.mktemp("rendered")
    environment = os.environ | {"GO111MODULE": "off", "GOPATH": "/usr/share/gocode", "GOFLAGS": "", "GOTOOLCHAIN": "local"}
    command = ["go", "build", "-o", str(folder / "render"), "./deploy/render"]
    built = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=110)
    assert built.returncode == 0, built.stderr
    return Renderer(folder / "render", folder)


MADE = documents(MANIFESTS)


def named(kind: str) -> list[tuple[str, Doc]]:
    return [(doc["metadata"]["name"], doc) for doc in MADE if doc["kind"] == kind]


def pods() -> dict[str, Doc]:
    """The templates of all pods, by the name of what makes them."""
    return {doc["metadata"]["name"]: doc["spec"]["template"] for doc in MADE if doc["kind"] in {"Deployment", "Job"}}


def matching(selector: Mapping[str, Any]) -> set[str]:
    """Who makes the pods that a selector means."""
    wanted = selector.get("matchLabels", selector if "matchExpressions" not in selector else {})

    def fits(labels: Mapping[str, str]) -> bool:
        others = selector.get("matchExpressions", [])
        assert all(each["operator"] == "NotIn" for each in others)
        return wanted.items() <= labels.items() and all(labels.get(each["key"]) not in each["values"] for each in others)

    return {name for name, pod in pods().items() if fits(pod["metadata"]["labels"])}


ALL = {"voxify-api", "voxify-beat", "voxify-inference", "voxify-migrate-0-1-0", "voxify-worker-background", "voxify-worker-speech"}


def test_there_is_what_there_should_be() -> None:
    assert pods().keys() == ALL
    assert not named("Secret"), "secrets come from outside"


def test_manifests_are_what_the_chart_renders(renderer: Renderer) -> None:
    ran, output = renderer.run("existingSecret=voxify")
    assert ran.returncode == 0, ran.stderr
    fresh = {path.name: path.read_text() for path in output.iterdir()}
    kept = {path.name: path.read_text() for path in MANIFESTS.glob("*.yaml")}
    assert kept == fresh, "run `make manifests`"


def test_a_chart_without_its_secret_says_what_is_missing(renderer: Renderer) -> None:
    ran, _ = renderer.run()
    assert ran.returncode == 1
    assert "existingSecret: name a Secret" in ran.stderr


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("doc", [doc for doc in MADE if doc["kind"] != "ScaledObject"], ids=lambda doc: doc["metadata"]["name"])
def test_objects_are_valid(doc: Doc, version: str) -> None:
    kubernetes_validate.validate(doc, version, strict=True)


def test_a_mistake_is_found() -> None:
    wrong = copy.deepcopy(named("Deployment")[0][1])
    wrong["spec"]["template"]["spec"]["containers"][0]["livenesProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, VERSIONS[-1], strict=True)


def test_values_reach_their_places(renderer: Renderer) -> None:
    made = renderer("image.tag=9.9.9", "inference.image.tag=8.8.8", "inference.models.existingClaim=mine", "networkPolicy.enabled=false")
    images = {
        container["image"]
        for doc in made
        if doc["kind"] in {"Deployment", "Job"}
        for container in doc["spec"]["template"]["spec"]["containers"]
    }
    assert images == {"voxify-api:9.9.9", "voxify-inference:8.8.8"}
    kinds = {doc["kind"] for doc in made}
    assert not kinds & {"NetworkPolicy", "PersistentVolumeClaim"}
    assert "voxify-migrate-9-9-9" in {doc["metadata"]["name"] for doc in made}


@pytest.mark.parametrize("name", sorted(ALL))
def test_pods_are_restricted(name: str) -> None:
    """The Pod Security Standard `restricted`, and a root file system that nobody writes to."""
    spec = pods()[name]["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False, "VOXIFY_API_PORT would be the address of a Service"
    security = spec["securityContext"]
    assert security["runAsNonRoot"] is True
    assert security["runAsUser"] == security["fsGroup"] == 10001
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
    assert not [volume for volume in spec["volumes"] if "hostPath" in volume]
    (container,) = spec["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert {mount["mountPath"] for mount in container["volumeMounts"]} == {"/tmp", "/data"}
    assert container["resources"]["requests"].keys() >= {"cpu", "memory"}
    assert "memory" in container["resources"]["limits"]


@pytest.mark.parametrize("name", sorted(ALL - {"voxify-inference", "voxify-migrate-0-1-0"}))
def test_settings_are_ours_and_go_together(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (container,) = pods()[name]["spec"]["containers"]
    sources = {kind: source["name"] for each in container["envFrom"] for kind, source in each.items()}
    assert sources["secretRef"] == "voxify"
    data = dict(named("ConfigMap"))[sources["configMapRef"]]["data"]
    assert not {setting for setting in data if re.search("SECRET|PASSWORD|KEY", setting)}
    settings = settings_from(data | SECRET, monkeypatch)
    assert settings.queue == "celery"
    inference = re.fullmatch(r"http://([a-z-]+):(\d+)", settings.inference)
    assert inference, settings.inference
    (port,) = dict(named("Service"))[inference[1]]["spec"]["ports"]
    assert port["port"] == int(inference[2])
    declared = {each["containerPort"] for each in container["ports"]}
    assert declared == {settings.api_port if name == "voxify-api" else settings.metrics_port}


def test_migration_takes_its_settings_from_the_secret_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hook before the first installation runs before there is anything else of the chart."""
    job = dict(named("Job"))["voxify-migrate-0-1-0"]
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    (container,) = pods()["voxify-migrate-0-1-0"]["spec"]["containers"]
    assert [kind for each in container["envFrom"] for kind in each] == ["secretRef"]
    assert parse_command(container["args"]) == "upgrade"
    assert settings_from(SECRET, monkeypatch).database.startswith("postgresql")


@pytest.mark.parametrize("name", sorted(ALL - {"voxify-inference"}))
def test_commands_are_ours(name: str) -> None:
    commands = {"voxify-api": "serve", "voxify-beat": "beat", "voxify-migrate-0-1-0": "upgrade"}
    assert parse_command(pods()[name]["spec"]["containers"][0]["args"]) == commands.get(name, "worker")


def test_objects_select_the_pods_that_they_name() -> None:
    for kind in ("Deployment", "Service", "PodDisruptionBudget"):
        for name, doc in named(kind):
            assert matching(doc["spec"]["selector"]) == {name}, f"{kind} {name}"
    for name, doc in named("HorizontalPodAutoscaler"):
        assert doc["spec"]["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": name}
    assert {name for name, _ in named("PodDisruptionBudget")} == ALL - {"voxify-beat", "voxify-migrate-0-1-0"}
    for name, doc in named("Service"):
        (container,) = pods()[name]["spec"]["containers"]
        assert doc["spec"]["ports"][0]["targetPort"] in {port["name"] for port in container["ports"]}
    # Its name must resolve to the replicas, among which the client chooses.
    assert dict(named("Service"))["voxify-inference"]["spec"]["clusterIP"] == "None"


def test_network_policies_let_in_who_needs_it_and_nobody_else() -> None:
    policies = {name: doc["spec"] for name, doc in named("NetworkPolicy")}
    assert matching(policies["voxify-nothing"]["podSelector"]) == ALL
    assert "ingress" not in policies["voxify-nothing"]
    assert "egress" not in policies["voxify-nothing"]
    assert matching(policies["voxify-api"]["podSelector"]) == {"voxify-api"}
    assert matching(policies["voxify-inference"]["podSelector"]) == {"voxify-inference"}
    (rule,) = policies["voxify-inference"]["ingress"]
    assert rule["ports"] == [{"port": 3000}]
    (peer,) = rule["from"]
    assert peer.keys() == {"podSelector"}
    assert matching(peer["podSelector"]) == ALL - {"voxify-inference", "voxify-migrate-0-1-0"}
    assert matching(policies["voxify-egress"]["podSelector"]) == ALL
    assert "169.254.169.254/32" in json.dumps(policies["voxify-egress"]["egress"])


@pytest.mark.parametrize("name", sorted(ALL - {"voxify-migrate-0-1-0"}))
def test_a_rolling_update_takes_nothing_away_before_the_new_is_there(name: str) -> None:
    strategy = dict(named("Deployment"))[name]["spec"]["strategy"]
    assert strategy == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}


@pytest.mark.parametrize("name", ["voxify-api", "voxify-inference", "voxify-worker-speech", "voxify-worker-background"])
def test_stopping_waits_for_what_runs(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = pods()[name]["spec"]
    (container,) = spec["containers"]
    data = dict(named("ConfigMap"))["voxify-settings"]["data"]
    if name == "voxify-inference":
        settings = settings_from({each["name"]: each["value"] for each in container["env"]}, monkeypatch)
        assert settings.shutdown_grace_s > settings.inference_timeout_s, "the longest batch"
        needed = settings.shutdown_grace_s
    else:
        settings = settings_from(data | SECRET, monkeypatch)
        needed = settings.shutdown_grace_s if name == "voxify-api" else settings.drain_s
    if name in {"voxify-api", "voxify-inference"}:
        # Requests come until the end of the endpoint is known everywhere, and a new replica gets none before it is ready.
        command = container["lifecycle"]["preStop"]["exec"]["command"]
        assert command[0] == "sleep"
        assert int(command[1]) >= (5 if name == "voxify-api" else LOOK_UP_S)
        needed += int(command[1])
        assert container["readinessProbe"]["httpGet"]["port"] == "http"
        assert "startupProbe" in container
    assert spec["terminationGracePeriodSeconds"] > needed
