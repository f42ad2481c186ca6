"""What KEDA is told of workers and inference: valid, about what is there, and by metrics that are exported."""

from __future__ import annotations

import json
import re
from typing import Any

import jsonschema
import pytest

from tests.deploy.test_kubernetes import MADE, Doc, Renderer, named, pods, renderer
from tests.observability.test_dashboards import exported
from tests.servers import ROOT
from worker.lanes import LANES

__all__ = ["renderer"]

SCALED_OBJECT = json.loads((ROOT / "deploy" / "schemas" / "keda-scaledobject.json").read_text())


@pytest.mark.parametrize(("name", "doc"), named("ScaledObject"), ids=lambda value: value if isinstance(value, str) else "")
def test_scaled_objects_are_valid_and_scale_what_is_there(name: str, doc: Doc) -> None:
    jsonschema.validate(doc, SCALED_OBJECT)
    spec = doc["spec"]
    assert all(trigger["metadata"]["ignoreNullValues"] == "false" for trigger in spec["triggers"]), "no answer would be taken for no load"
    assert spec["scaleTargetRef"]["name"] in dict(named("Deployment"))
    assert 1 <= spec["minReplicaCount"] <= spec["maxReplicaCount"]
    deployment = dict(named("Deployment"))[spec["scaleTargetRef"]["name"]]
    assert "replicas" not in deployment["spec"], "an upgrade would undo the scaling"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(doc | {"spec": spec | {"minReplicas": 1}}, SCALED_OBJECT)


def queries(doc: Doc) -> list[str]:
    return [trigger["metadata"]["query"] for trigger in doc["spec"]["triggers"]]


def test_inference_scales_on_what_it_computes_and_has_in_progress() -> None:
    assert queries(dict(named("ScaledObject"))["voxify-inference"]) == [
        "100 * sum(rate(voxify_inference_batch_seconds_sum[5m]))",
        'sum(bentoml_service_request_in_progress{service_name="voxify_inference"})',
    ]


def test_workers_scale_on_the_jobs_of_their_lanes() -> None:
    scaled = set()
    for name, doc in named("ScaledObject"):
        if "-worker-" not in name:
            continue
        (query,) = queries(doc)
        lane = r'\{lane=~"([a-z|]+)"'
        age = rf"max\(voxify_queue_oldest_seconds{lane}\}}\)"
        jobs = rf'max\(sum by \(lane\) \(max by \(lane, status\) \(voxify_queue_depth{lane}, status=~"due\|processing"\}}\)\)\)'
        match = re.fullmatch(jobs if name == "voxify-worker-speech" else age, query)
        assert match, query
        arguments = pods()[name]["spec"]["containers"][0]["args"]
        lanes = match[1].split("|")
        assert arguments[arguments.index("--lanes") + 1].split(",") == lanes
        assert not scaled & set(lanes), "two Deployments for one lane"
        scaled |= set(lanes)
    assert scaled == set(LANES)


def test_without_keda_the_numbers_are_fixed(renderer: Renderer) -> None:
    made = renderer("keda.enabled=false", "inference.replicas=3")
    assert not [doc for doc in made if doc["kind"] == "ScaledObject"]
    replicas = {doc["metadata"]["name"]: doc["spec"].get("replicas") for doc in made if doc["kind"] == "Deployment"}
    assert replicas == {
        "voxify-api": None,  # its HorizontalPodAutoscaler needs no KEDA
        "voxify-beat": 1,
        "voxify-inference": 3,
        "voxify-worker-background": 1,
        "voxify-worker-speech": 2,
    }


def scaled(made: list[Doc], name: str) -> Doc:
    (doc,) = (doc for doc in made if doc["kind"] == "ScaledObject" and doc["metadata"]["name"] == name)
    return doc


def test_a_group_may_scale_on_both_or_on_the_age_alone(renderer: Renderer) -> None:
    both = scaled(renderer("workers.speech.scaling.secondsPerReplica=60"), "voxify-worker-speech")
    jsonschema.validate(both, SCALED_OBJECT)
    assert [trigger["metadata"]["threshold"] for trigger in both["spec"]["triggers"]] == ["3", "60"]
    settings: tuple[Any, ...] = ("workers.speech.scaling.secondsPerReplica=60", "workers.speech.scaling.jobsPerReplica=0")
    (query,) = queries(scaled(renderer(*settings), "voxify-worker-speech"))
    assert "voxify_queue_oldest_seconds" in query


def test_rules_of_scaling_ask_for_what_is_exported() -> None:
    there = exported()
    asked = {
        name for doc in MADE if doc["kind"] == "ScaledObject" for query in queries(doc) for name in re.findall(r"voxify_[a-z_]+", query)
    }
    assert asked - {"voxify_inference"} <= there.keys()
    assert len(asked) > 3
