"""What KEDA and the HorizontalPodAutoscaler that it makes decide, by the rules of the chart.

The algorithm is that of Kubernetes for external metrics with `AverageValue`: the metric over the target, rounded up, and of several the
most; nothing is done where that is within a tenth of what there is; at most twice as many replicas or four more within 15 s; and fewer
only when no recommendation of the last window wanted more (https://kubernetes.io/docs/concepts/workloads/autoscaling/horizontal-pod-autoscale/).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

MANIFESTS = Path(__file__).parents[1] / "deploy" / "kubernetes"
PERIOD_S = 15.0
"""How often the autoscaler looks (`--horizontal-pod-autoscaler-sync-period`)."""
DOWN_WINDOW_S = 300.0
"""Kubernetes' own, where a rule does not say."""
TOLERANCE = 0.1
MOST_NEW = 4

AGE, JOBS, REQUESTS, BUSY = "age", "jobs", "requests", "busy"
"""What rules go by: how many seconds the oldest waiting job has waited; jobs that wait or run; requests in progress at the inference tier;
and how much of the last `BUSY_WINDOW_S` replicas computed, in per cent of one replica."""
BUSY_WINDOW_S = 300.0
_TOLD_BY = {
    "voxify_queue_oldest_seconds": AGE,
    "voxify_queue_depth": JOBS,
    "bentoml_service_request_in_progress": REQUESTS,
    "voxify_inference_batch_seconds_sum": BUSY,
}


@dataclass(frozen=True)
class Rule:
    """`targets`: how much of each metric one replica is for. `down_window_s`: how long fewer must have been enough."""

    minimum: int
    maximum: int
    targets: Mapping[str, float]
    down_window_s: float = DOWN_WINDOW_S

    @classmethod
    def fixed(cls, replicas: int) -> Rule:
        """Always so many."""
        return cls(replicas, replicas, {})


def rule_of(name: str, manifests: Path = MANIFESTS) -> Rule:
    """The rule of the ScaledObject with this name in the manifests that the chart renders.

    Raises:
        LookupError: there is none, or it goes by a metric that the simulation does not know.
    """
    for path in sorted(manifests.glob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text(encoding="utf-8")):
            if document and document["kind"] == "ScaledObject" and document["metadata"]["name"] == name:
                return _rule(document["spec"])
    raise LookupError(f"no ScaledObject {name} in {manifests}")


def _rule(spec: dict[str, Any]) -> Rule:
    targets = {_metric(trigger["metadata"]["query"]): float(trigger["metadata"]["threshold"]) for trigger in spec["triggers"]}
    behavior = spec.get("advanced", {}).get("horizontalPodAutoscalerConfig", {}).get("behavior", {})
    window = behavior.get("scaleDown", {}).get("stabilizationWindowSeconds", DOWN_WINDOW_S)
    return Rule(spec["minReplicaCount"], spec["maxReplicaCount"], targets, float(window))


def _metric(query: str) -> str:
    known = [metric for name, metric in _TOLD_BY.items() if name in query]
    if len(known) != 1:
        raise LookupError(f"the simulation does not know what {query} asks for")
    return known[0]


class Scaler:
    """Decides every `PERIOD_S` how many replicas there should be."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self._recommended: deque[tuple[float, int]] = deque()

    def decide(self, now_s: float, metrics: Mapping[str, float], current: int) -> int:
        """Replicas from now on, where there are `current` and `metrics` are over all of them."""
        rule = self.rule
        wanted = max((_wanted(metrics[name], target, current) for name, target in rule.targets.items()), default=rule.minimum)
        wanted = min(rule.maximum, max(rule.minimum, wanted))
        self._recommended.append((now_s, wanted))
        while self._recommended[0][0] <= now_s - rule.down_window_s:
            self._recommended.popleft()
        if wanted > current:
            return min(wanted, max(2 * current, current + MOST_NEW))
        return min(current, max(recommended for _, recommended in self._recommended))


def _wanted(metric: float, target: float, current: int) -> int:
    if current and abs(1 - metric / (target * current)) <= TOLERANCE:
        return current
    return math.ceil(metric / target)
