"""What a token may be, and the secret that signs it."""

from __future__ import annotations

import base64
import json
import stat
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.auth.tokens import ACCESS, REFRESH, SecretMissingError, Tokens, signing_secret
from api.errors import UnauthorizedError
from settings import Settings
from tests.api.support import AUTH, SignedIn, error_of

SECRET = "s" * 64


def claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    good = {"iss": "voxify", "aud": ACCESS, "sub": "user_1", "sid": "tok_1", "jti": "tok_2", "iat": now, "exp": now + 86400}
    return {name: value for name, value in (good | changes).items() if value is not None}


def signed(secret: str = SECRET, algorithm: str = "HS256", **changes: Any) -> str:
    return jwt.encode(claims(**changes), secret, algorithm=algorithm)


def unsigned() -> str:
    def part(value: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    return f"{part({'alg': 'none', 'typ': 'JWT'})}.{part(claims())}."


@pytest.fixture
def tokens() -> Tokens:
    return Tokens(SECRET, access_ttl_s=60, refresh_ttl_s=600)


def test_round_trip(tokens: Tokens) -> None:
    for audience, ttl in ((ACCESS, 60), (REFRESH, 600)):
        token, made = tokens.make(audience, "user_1", "tok_1")
        assert tokens.read(token, audience) == made
        assert made.expires_at - time.time() == pytest.approx(ttl, abs=2)


def test_a_good_token_made_by_hand_is_read(tokens: Tokens) -> None:
    """So that the refusals below are for the one thing that each changes."""
    assert tokens.read(signed(), ACCESS).user_id == "user_1"


@pytest.mark.parametrize(
    "token",
    [
        signed(secret="t" * 64),
        signed(algorithm="HS512"),
        unsigned(),
        signed(aud=REFRESH),
        signed(aud=[ACCESS, REFRESH]),
        signed(aud=[ACCESS]),
        signed(iss="somebody"),
        signed(iat=int(time.time()) + 86_000),
        signed(sid=7),
        *(signed(**{name: None}) for name in ("iss", "aud", "sub", "sid", "jti", "iat", "exp")),
        "",
        "a.b.c",
        "ü",
    ],
)
def test_bad_tokens_are_refused(tokens: Tokens, token: str) -> None:
    with pytest.raises(UnauthorizedError) as refused:
        tokens.read(token, ACCESS)
    assert refused.value.code == "INVALID_TOKEN"


def test_an_expired_token_says_so(tokens: Tokens) -> None:
    with pytest.raises(UnauthorizedError) as refused:
        tokens.read(signed(iat=int(time.time()) - 100, exp=int(time.time()) - 10), ACCESS)
    assert refused.value.code == "TOKEN_EXPIRED"


@given(st.data())
def test_a_token_with_any_letter_changed_is_refused(data: st.DataObject) -> None:
    tokens = Tokens(SECRET, access_ttl_s=60, refresh_ttl_s=600)
    token, _ = tokens.make(ACCESS, "user_1", "tok_1")
    # The last letter of a part holds bits that base64 ignores.
    last_of_parts = {len(token) - 1, *(place - 1 for place, letter in enumerate(token) if letter == ".")}
    place = data.draw(st.sampled_from([place for place in range(len(token)) if place not in last_of_parts]))
    letter = data.draw(st.sampled_from("Aa0_-.").filter(lambda letter: letter != token[place]))
    with pytest.raises(UnauthorizedError):
        tokens.read(token[:place] + letter + token[place + 1 :], ACCESS)


async def test_a_refresh_token_opens_no_route_and_an_access_token_renews_nothing(
    client: httpx.AsyncClient, user: Callable[[], Awaitable[SignedIn]]
) -> None:
    person = await user()
    error_of(await client.get(f"{AUTH}/profile", headers={"Authorization": f"Bearer {person.refresh_token}"}), 401, "INVALID_TOKEN")
    error_of(await client.post(f"{AUTH}/refresh", headers=person.headers), 401, "INVALID_TOKEN")


async def test_expired_tokens_over_http(client: httpx.AsyncClient, settings: Settings, user: Callable[[], Awaitable[SignedIn]]) -> None:
    person = await user()
    secret = signing_secret(settings)
    past = {"iat": int(time.time()) - 100, "exp": int(time.time()) - 10}
    for token, method, path in ((person.access_token, "GET", "profile"), (person.refresh_token, "POST", "refresh")):
        payload = jwt.decode(token, options={"verify_signature": False}) | past
        old = jwt.encode(payload, secret, algorithm="HS256")
        error_of(await client.request(method, f"{AUTH}/{path}", headers={"Authorization": f"Bearer {old}"}), 401, "TOKEN_EXPIRED")


def test_the_secret_of_dev_is_made_once_and_private(settings: Settings) -> None:
    made = signing_secret(settings)
    assert len(made) >= 32
    assert signing_secret(settings) == made
    assert stat.S_IMODE((settings.data_dir / "jwt_secret").stat().st_mode) == 0o600
    assert [path.name for path in settings.data_dir.iterdir()] == ["jwt_secret"], "nothing half made stays behind"


def test_processes_that_start_at_once_agree_on_the_secret(settings: Settings) -> None:
    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(lambda _: signing_secret(settings), range(16)))) == 1


def test_outside_dev_a_missing_secret_stops_the_start(tmp_path: Path) -> None:
    settings = Settings(env="prod", data_dir=tmp_path, _env_file=None)  # type: ignore[call-arg]
    with pytest.raises(SecretMissingError, match="VOXIFY_JWT_SECRET"):
        signing_secret(settings)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_secret_stops_the_start(settings: Settings) -> None:
    settings.data_dir.mkdir()
    (settings.data_dir / "jwt_secret").write_text("short")
    with pytest.raises(SecretMissingError):
        signing_secret(settings)
