from __future__ import annotations

from datetime import UTC, datetime

import msgspec

from api.limits.quotas import Quota, Usage
from api.limits.rates import Allowance


class QuotaView(msgspec.Struct, frozen=True, kw_only=True):
    """`resets_at` is null for what does not come back with time."""

    limit: int
    used: int
    remaining: int
    resets_at: datetime | None

    @classmethod
    def of(cls, quota: Quota) -> QuotaView:
        return cls(limit=quota.limit, used=quota.used, remaining=max(0, quota.limit - quota.used), resets_at=quota.resets_at)

    @classmethod
    def of_rate(cls, allowance: Allowance) -> QuotaView:
        resets_at = datetime.fromtimestamp(allowance.resets_at_ms / 1000, UTC)
        used = min(allowance.count, allowance.limit)
        return cls(limit=allowance.limit, used=used, remaining=allowance.remaining, resets_at=resets_at)


class UsageData(msgspec.Struct, frozen=True, kw_only=True):
    """`requests` of this minute, null where they are not limited; `samples` and `jobs` of this day in UTC; `storage` in bytes."""

    requests: QuotaView | None
    samples: QuotaView
    jobs: QuotaView
    storage: QuotaView

    @classmethod
    def of(cls, usage: Usage, allowance: Allowance | None) -> UsageData:
        return cls(
            requests=QuotaView.of_rate(allowance) if allowance is not None else None,
            samples=QuotaView.of(usage.samples),
            jobs=QuotaView.of(usage.jobs),
            storage=QuotaView.of(usage.storage),
        )
