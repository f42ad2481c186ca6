"""What the chart makes only where it is asked to: the way in, and monitors."""

from __future__ import annotations

import json
import re

import jsonschema
import kubernetes_validate
import pytest

from settings import Settings
from tests.deploy.test_kubernetes import MADE, VERSIONS, Doc, Renderer, matching, pods, renderer
from tests.observability.test_dashboards import rules
from tests.servers import ROOT

__all__ = ["renderer"]

POD_MONITOR = json.loads((ROOT / "deploy" / "schemas" / "prometheus-podmonitor.json").read_text())
INGRESS = ("ingress.enabled=true", "ingress.host=voxify.example.com", "settings.VOXIFY_TRUSTED_PROXIES=10.0.0.0/8")
NGINX = "nginx.ingress.kubernetes.io/"


def only(made: list[Doc], kind: str) -> Doc:
    (doc,) = (doc for doc in made if doc["kind"] == kind)
    return doc


def test_neither_is_made_unasked() -> None:
    assert not {"Ingress", "PodMonitor"} & {doc["kind"] for doc in MADE}


class TestIngress:
    @pytest.mark.parametrize("version", VERSIONS)
    def test_it_is_valid_and_leads_to_the_api(self, renderer: Renderer, version: str) -> None:
        made = renderer(*INGRESS, "ingress.className=nginx", "ingress.tlsSecret=voxify-tls")
        ingress = only(made, "Ingress")
        kubernetes_validate.validate(ingress, version, strict=True)
        assert ingress["spec"]["ingressClassName"] == "nginx"
        assert ingress["spec"]["tls"] == [{"hosts": ["voxify.example.com"], "secretName": "voxify-tls"}]
        (rule,) = ingress["spec"]["rules"]
        assert rule["host"] == "voxify.example.com"
        services = {doc["metadata"]["name"]: doc for doc in made if doc["kind"] == "Service"}
        for path in rule["http"]["paths"]:
            service = path["backend"]["service"]
            assert service["name"] == "voxify-api"
            assert service["port"]["name"] in {port["name"] for port in services["voxify-api"]["spec"]["ports"]}

    def test_what_is_for_the_cluster_stays_there(self, renderer: Renderer) -> None:
        (rule,) = only(renderer(*INGRESS), "Ingress")["spec"]["rules"]
        paths = {(path["path"], path["pathType"]) for path in rule["http"]["paths"]}
        assert paths == {("/api", "Prefix"), ("/docs", "Exact"), ("/openapi.json", "Exact"), ("/health/live", "Exact")}

    def test_streams_and_uploads_pass(self, renderer: Renderer) -> None:
        annotations = only(renderer(*INGRESS), "Ingress")["metadata"]["annotations"]
        settings = Settings(env="dev", _env_file=None)  # type: ignore[call-arg]
        assert annotations[f"{NGINX}proxy-buffering"] == "off"
        assert int(annotations[f"{NGINX}proxy-body-size"]) > settings.max_upload_bytes
        # An event stream lasts ten minutes; a synthesis that is asked for as JSON is silent until it is spoken.
        assert int(annotations[f"{NGINX}proxy-read-timeout"]) >= 900
        nginx = (ROOT / "deploy" / "proxy" / "nginx.conf").read_text()
        assert f"proxy_read_timeout {annotations[f'{NGINX}proxy-read-timeout']}s;" in nginx

    def test_larger_uploads_pass_where_the_settings_let_them(self, renderer: Renderer) -> None:
        made = renderer(*INGRESS, "settings={VOXIFY_MAX_UPLOAD_BYTES: 52428800, VOXIFY_TRUSTED_PROXIES: 10.0.0.7}")
        assert int(only(made, "Ingress")["metadata"]["annotations"][f"{NGINX}proxy-body-size"]) > 52428800

    def test_another_controller_gets_the_annotations_of_the_operator_alone(self, renderer: Renderer) -> None:
        made = renderer(*INGRESS, "ingress.nginx=false", "ingress.annotations={example.com/kind: outer}")
        assert only(made, "Ingress")["metadata"]["annotations"] == {"example.com/kind": "outer"}
        bare = only(renderer(*INGRESS, "ingress.nginx=false"), "Ingress")
        assert "annotations" not in bare["metadata"]
        assert "tls" not in bare["spec"]

    @pytest.mark.parametrize(
        ("settings", "said"),
        [(INGRESS[:2], "settings.VOXIFY_TRUSTED_PROXIES: "), ((INGRESS[0], INGRESS[2]), "ingress.host: ")],
    )
    def test_what_is_missing_is_said(self, renderer: Renderer, settings: tuple[str, ...], said: str) -> None:
        ran, _ = renderer.run("existingSecret=voxify", *settings)
        assert ran.returncode == 1
        assert said in ran.stderr


class TestPodMonitors:
    @pytest.fixture
    def monitors(self, renderer: Renderer) -> list[Doc]:
        made = renderer("podMonitor.enabled=true", "podMonitor.labels={release: prometheus}", "podMonitor.interval=30s")
        return [doc for doc in made if doc["kind"] == "PodMonitor"]

    def test_they_are_valid(self, monitors: list[Doc]) -> None:
        for monitor in monitors:
            jsonschema.validate(monitor, POD_MONITOR)
            assert monitor["metadata"]["labels"]["release"] == "prometheus"
        wrong = monitors[0] | {"spec": monitors[0]["spec"] | {"podMetricsEndpoint": []}}
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, POD_MONITOR)

    def test_every_process_that_tells_is_asked_once_at_a_port_that_it_has(self, monitors: list[Doc]) -> None:
        asked: list[str] = []
        for monitor in monitors:
            (endpoint,) = monitor["spec"]["podMetricsEndpoints"]
            assert endpoint["interval"] == "30s"
            (kept,) = monitor["spec"]["selector"]["matchExpressions"]
            assert kept["operator"] == "In"
            for component in kept["values"]:
                labels = monitor["spec"]["selector"]["matchLabels"] | {kept["key"]: component}
                (name,) = matching({"matchLabels": labels})
                asked.append(name)
                (container,) = pods()[name]["spec"]["containers"]
                (port,) = (port for port in container["ports"] if port["name"] == endpoint["port"])
                assert pods()[name]["metadata"]["annotations"]["prometheus.io/port"] == str(port["containerPort"])
        assert sorted(asked) == ["voxify-api", "voxify-beat", "voxify-inference", "voxify-worker-background", "voxify-worker-speech"]

    def test_the_alerts_know_their_jobs(self, monitors: list[Doc]) -> None:
        known = {match for rule in rules() for match in re.findall(r'job=~"([^"]+)"', rule["expr"])}
        assert known
        for monitor in monitors:
            (relabeling,) = monitor["spec"]["podMetricsEndpoints"][0]["relabelings"]
            assert relabeling["targetLabel"] == "job"
            assert all(re.fullmatch(pattern, relabeling["replacement"]) for pattern in known)
