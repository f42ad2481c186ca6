"""``python -m inference``: serve, or fetch the files of a model."""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

from settings import Settings

SERVICE = "inference.service:Inference"
BACKLOG = 2048


def serve(settings: Settings) -> int:
    """Be BentoML's worker until a signal ends it, in this one process. Returns the exit code: 1 where the port cannot be had.

    ``bentoml serve`` would import everything once more in a supervisor, which starts a dead worker again. Whoever starts this process
    (``make up``, a container's orchestrator) does that here.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        # uvicorn raises the signal again once all is done, and a clean stop would look like a crash.
        signal.signal(number, _stop)
    try:
        listener = _listen(settings.inference_host, settings.inference_port)
    except OSError as error:
        print(f"{settings.inference_host}:{settings.inference_port} cannot be listened on: {error}", file=sys.stderr)
        return 1
    # BentoML counts in files even where it is alone; a folder of its own keeps two services of one machine apart.
    with tempfile.TemporaryDirectory(prefix="voxify-metrics-") as metrics:
        os.environ |= {"BENTOML_DO_NOT_TRACK": "True", "PROMETHEUS_MULTIPROC_DIR": metrics}
        from _bentoml_impl.worker.service import main as work  # type: ignore[import-untyped]

        options = ["--fd", str(listener.detach()), "--backlog", str(BACKLOG), "--worker-id", "1"]
        options += ["--timeout-graceful-shutdown", str(max(1, round(settings.shutdown_grace_s)))]
        work([SERVICE, *options], standalone_mode=False)
    return 0


def _stop(_number: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(0)


def _listen(host: str, port: int) -> socket.socket:
    return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=BACKLOG)


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
    return serve(settings)
