"""The pods of `deploy/kubernetes`, played by Podman: it knows pods, settings, secrets and volumes, and nothing of what a cluster does."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Mapping
from typing import Any

import httpx
import yaml

from tests.deploy.engine import PATIENCE_S, Project
from tests.servers import ROOT

MANIFESTS = ROOT / "deploy" / "kubernetes"
PROBES = ("startupProbe", "readinessProbe", "livenessProbe")


class Pods:
    """One pod for each Deployment and Job, in the network of a project whose stores they use.

    Args:
        project: where PostgreSQL, Redis, RabbitMQ, the store of objects and Chroma run.
        secret: what the Secret holds that an operator makes: settings of Voxify.
    """

    def __init__(self, project: Project, secret: Mapping[str, str]) -> None:
        self.project = project
        self.secret = {name: base64.b64encode(value.encode()).decode() for name, value in secret.items()}
        found = [document for path in sorted(MANIFESTS.glob("*.yaml")) for document in yaml.safe_load_all(path.read_text())]
        self.specs = {each["metadata"]["name"]: each["spec"]["template"]["spec"] for each in found if each["kind"] in ("Deployment", "Job")}
        self.beside = [each for each in found if each["kind"] in ("ConfigMap", "PersistentVolumeClaim")]

    def up(self) -> None:
        """Start all at once, as `kubectl apply` does. What a run left that was killed goes first."""
        self.down()
        file, secret = self.project.folder / "pods.yaml", self.project.folder / "secret.json"
        pods = [
            {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": _played(name, spec)}
            for name, spec in self.specs.items()
        ]
        file.write_text(yaml.safe_dump_all([*self.beside, *pods]))
        secret.write_text(json.dumps(self.secret))
        self.project.podman("secret", "create", "voxify", str(secret))
        self.project.podman("kube", "play", "--network", f"{self.project.name}_default", str(file))

    def down(self) -> None:
        self.project.podman("pod", "rm", "--force", "--time", "5", *self.specs, check=False)
        self.project.podman("volume", "rm", *(each["metadata"]["name"] for each in self.beside if "Volume" in each["kind"]), check=False)
        self.project.podman("secret", "rm", "voxify", check=False)

    def container(self, pod: str) -> str:
        return f"{pod}-{self.specs[pod]['containers'][0]['name']}"

    def address(self, pod: str) -> str:
        infra = self.project.podman("pod", "inspect", "--format", "{{.InfraContainerID}}", pod).stdout.strip()
        networks = json.loads(self.project.podman("inspect", "--format", "{{json .NetworkSettings.Networks}}", infra).stdout)
        (network,) = networks.values()
        return str(network["IPAddress"])

    def log(self, pod: str) -> str:
        done = self.project.podman("logs", self.container(pod), check=False)
        return done.stdout + done.stderr

    def wait_until_well(self, pod: str) -> None:
        """Return when every probe of the pod is answered with success; AssertionError when one never is."""
        (container,) = self.specs[pod]["containers"]
        ports = {port["name"]: port["containerPort"] for port in container.get("ports", [])}
        address, deadline = self.address(pod), time.monotonic() + PATIENCE_S
        for asked in (container[probe]["httpGet"] for probe in PROBES if probe in container):
            url = f"http://{address}:{ports[asked['port']]}{asked['path']}"
            while not _is_well(url):
                assert time.monotonic() < deadline, f"{url} of {pod} does not answer\n{self.log(pod)[-4000:]}"
                time.sleep(0.5)


def _is_well(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5, trust_env=False).is_success
    except httpx.HTTPError:
        return False


def _played(name: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    """As this version of podman can take it.

    Without ports, which it takes from the host, and without probes, for which it wants curl in the image. Names of volumes are those of
    no other pod, for they would share them.
    """
    containers = [{key: value for key, value in each.items() if key not in ("ports", *PROBES)} for each in spec["containers"]]
    for each in containers:
        each["volumeMounts"] = [mount | {"name": f"{name}-{mount['name']}"} for mount in each["volumeMounts"]]
    return {**spec, "containers": containers, "volumes": [volume | {"name": f"{name}-{volume['name']}"} for volume in spec["volumes"]]}
