"""``python -m inference``: serve, or fetch the files of a model."""

from __future__ import annotations

import argparse
import ctypes
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from settings import Settings

PR_SET_PDEATHSIG = 1
SERVICE = "inference.service:Inference"


def serve(settings: Settings) -> NoReturn:
    """Become ``bentoml serve``: signals reach its supervisor directly, and no parent is left behind."""
    os.environ["BENTOML_DO_NOT_TRACK"] = "True"
    command = [sys.executable, "-m", "bentoml", "serve", SERVICE, "--working-dir", str(Path(__file__).parents[1])]
    command += ["--host", settings.inference_host, "--port", str(settings.inference_port)]
    command += ["--timeout-graceful-shutdown", str(max(1, round(settings.shutdown_grace_s)))]
    os.execv(command[0], command)  # noqa: S606 - no shell, and every word of it is ours


def end_with_parent() -> None:
    """Have the kernel send SIGTERM to this process when its supervisor dies, so that even SIGKILL leaves no worker on the port."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def fetch(settings: Settings, names: Sequence[str]) -> int:
    """Download the files of models. Returns the exit code: 1 where one could not be had."""
    from inference import recognisers
    from inference.errors import ModelUnavailableError
    from inference.loading import fetch_model
    from inference.registry import Registry

    registry = Registry(settings.models_dir, model=settings.model, commercial_only=settings.commercial_only)
    code = 0
    for name in names or [registry.default]:
        try:
            if name in recognisers.known():
                folder = recognisers.fetch(name, settings.models_dir, commercial_only=settings.commercial_only)
                print(f"{name} is in {folder}")
                continue
            fetch_model(registry, name)
        except ModelUnavailableError as error:
            print(error.message, file=sys.stderr)
            code = 1
        else:
            print(f"{name} is in {registry.folder(registry.spec(name))}")
    return code


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m inference", description="The inference service of Voxify.")
    commands = parser.add_subparsers(dest="command")
    commands.add_parser("serve", help="serve on the host and port of the settings (the default)")
    fetching = commands.add_parser("fetch", help="download the files of models")
    fetching.add_argument("names", nargs="*", help="names in inference/models.toml; default: the default model")
    parsed = parser.parse_args(arguments)
    settings = Settings()
    if parsed.command == "fetch":
        return fetch(settings, parsed.names)
    serve(settings)
