"""What KEDA and the HorizontalPodAutoscaler that it makes decide, by the rules of the chart.

The algorithm is that of Kubernetes for an external metric with `AverageValue`: the metric over the target, rounded up; nothing is done
where that is within a tenth of what there is; at most twice as many replicas or four more within 15 s; and fewer only when no
recommendation of the last window wanted more (https://kubernetes.io/docs/concepts/workloads/autoscaling/horizontal-pod-autoscale/).
"""

from __future__ import annotations

import math
from collections import deque
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


@dataclass(frozen=True)
class Rule:
    """`target`: of the metric, for one replica. `down_window_s`: how long fewer must have been enough."""

    minimum: int
    maximum: int
    target: float
    down_window_s: float = DOWN_WINDOW_S

    @classmethod
    def fixed(cls, replicas: int) -> Rule:
        """Always so many."""
        return cls(replicas, replicas, 1)


def rule_of(name: str, manifests: Path = MANIFESTS) -> Rule:
    """The rule of the ScaledObject with this name in the manifests that the chart renders.

    Raises:
        LookupError: there is none.
    """
    for path in sorted(manifests.glob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text(encoding="utf-8")):
            if document and document["kind"] == "ScaledObject" and document["metadata"]["name"] == name:
                return _rule(document["spec"])
    raise LookupError(f"no ScaledObject {name} in {manifests}")


def _rule(spec: dict[str, Any]) -> Rule:
    (trigger,) = spec["triggers"]
    behavior = spec.get("advanced", {}).get("horizontalPodAutoscalerConfig", {}).get("behavior", {})
    window = behavior.get("scaleDown", {}).get("stabilizationWindowSeconds", DOWN_WINDOW_S)
    return Rule(spec["minReplicaCount"], spec["maxReplicaCount"], float(trigger["metadata"]["threshold"]), float(window))


class Scaler:
    """Decides every `PERIOD_S` how many replicas there should be."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self._recommended: deque[tuple[float, int]] = deque()

    def decide(self, now_s: float, metric: float, current: int) -> int:
        """Replicas from now on, where there are `current` and the metric, over all of them, is `metric`."""
        rule = self.rule
        wanted = current
        if current == 0 or abs(1 - metric / (rule.target * current)) > TOLERANCE:
            wanted = math.ceil(metric / rule.target)
        wanted = min(rule.maximum, max(rule.minimum, wanted))
        self._recommended.append((now_s, wanted))
        while self._recommended[0][0] <= now_s - rule.down_window_s:
            self._recommended.popleft()
        if wanted > current:
            return min(wanted, max(2 * current, current + MOST_NEW))
        return min(current, max(recommended for _, recommended in self._recommended))
