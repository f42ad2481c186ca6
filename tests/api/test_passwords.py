from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.auth.passwords import SYMBOLS, Passwords, shortcomings
from tests.api.support import PASSWORD, quick_passwords


@pytest.mark.parametrize(
    ("password", "lacking"),
    [
        (PASSWORD, []),
        ("Aa1!" * 32, []),
        ("Aa1!" * 32 + "a", ["at most 128 characters"]),
        ("Aa1!Aa1", ["at least 8 characters"]),
        ("aaaaaa1!", ["an upper-case letter"]),
        ("AAAAAA1!", ["a lower-case letter"]),
        ("Aaaaaaa!", ["a digit"]),
        ("Aaaaaa1-", [f"one of {SYMBOLS}"]),
        ("", None),
    ],
)
def test_each_rule(password: str, lacking: list[str] | None) -> None:
    assert shortcomings(password) == lacking if lacking is not None else len(shortcomings(password)) == 5


@given(st.text(min_size=4, max_size=124), *(st.sampled_from(letters) for letters in (string.ascii_uppercase, string.ascii_lowercase)))
def test_whatever_is_added_a_good_password_stays_good(rest: str, upper: str, lower: str) -> None:
    assert shortcomings(f"{upper}{lower}7!{rest}") == []


async def test_verify() -> None:
    passwords = quick_passwords()
    hashed = await passwords.hash(PASSWORD)
    assert await passwords.verify(hashed, PASSWORD)
    assert not await passwords.verify(hashed, PASSWORD + "x")
    assert not await passwords.verify("no hash at all", PASSWORD)
    assert not await passwords.verify(None, PASSWORD)


async def test_equal_passwords_have_unequal_hashes() -> None:
    passwords = quick_passwords()
    assert await passwords.hash(PASSWORD) != await passwords.hash(PASSWORD)


async def test_new_hashes_are_argon2id_with_real_costs() -> None:
    """At least what OWASP asks for: 19 MiB and two passes."""
    passwords = Passwords()
    kind, _, costs = (await passwords.hash(PASSWORD)).split("$")[1:4]
    memory, passes, _ = (int(cost.partition("=")[2]) for cost in costs.split(","))
    assert kind == "argon2id"
    assert memory >= 19 * 1024
    assert passes >= 2
    assert passwords.outdated(await quick_passwords().hash(PASSWORD))
