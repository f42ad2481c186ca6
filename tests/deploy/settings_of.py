"""What the tests of all ways to deploy ask about settings and commands."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import typer

from api.cli import app
from settings import Settings

KNOWN = {f"VOXIFY_{name.upper()}" for name in Settings.model_fields}


def settings_from(environment: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The settings of a container with this environment and nothing else; raises where they do not go together."""
    unknown = {name for name in environment if name.startswith("VOXIFY_")} - KNOWN
    assert not unknown, f"no settings: {sorted(unknown)}"
    with monkeypatch.context() as alone:
        for name in KNOWN:
            alone.delenv(name, raising=False)
        for name, value in environment.items():
            alone.setenv(name, value)
        return Settings(_env_file=None)  # type: ignore[call-arg]


def parse_command(arguments: Sequence[str]) -> str:
    """The name of the command that this line of `voxify` is for; raises a usage error for a line that it does not take."""
    command: Any = typer.main.get_command(app)
    rest, context = list(arguments), None
    while hasattr(command, "resolve_command"):
        context = command.context_class(command, parent=context)
        name, command, rest = command.resolve_command(context, rest)
    command.make_context(name, rest, parent=context)
    return str(name)
