from __future__ import annotations

from typing import Any

from litestar import Request, get
from litestar.di import NamedDependency

from api.auth.principal import Caller
from api.envelope import Envelope, ok
from api.errors import documented
from api.limits.admission import allowance_of
from api.limits.quotas import Quotas
from api.limits.schemas import UsageData


@get("/auth/usage", responses=documented(401, 403), tags=["auth"], summary="Your limits, and what you have used of them")
async def get_usage(request: Request[Any, Any, Any], principal: Caller, quotas: NamedDependency[Quotas]) -> Envelope[UsageData]:
    return ok(UsageData.of(await quotas.look(principal.user_id), allowance_of(request.scope)))
