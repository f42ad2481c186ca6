"""The image of the API, built as where there is no Docker engine, and run. Needs root, buildah and mmdebstrap."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.deploy.engine import OUT, STORE, build, buildah
from tests.deploy.test_requirements import listed
from tests.servers import ROOT, free_port, stop, wait_until_ready

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

WHEELS = f"{OUT / 'wheels' / 'api'}:/wheels:ro"
MOST_MB = 500


@pytest.fixture(scope="module")
def image() -> str:
    return build("api")


@pytest.fixture(scope="module")
def container(image: str) -> Iterator[str]:
    made = buildah("from", "--pull-never", image)
    yield made
    buildah("rm", made)


@pytest.fixture(scope="module")
def root(container: str) -> Path:
    """Its file system."""
    return Path(buildah("mount", container))


def test_the_image_is_small_and_says_how_it_runs(image: str) -> None:
    assert int((OUT / "api.size").read_text()) < MOST_MB
    config: dict[str, Any] = json.loads(buildah("inspect", "--type", "image", image))["Docker"]["config"]
    assert config["User"] == "10001:10001"
    assert config["Entrypoint"] == ["voxify"]
    assert config["Cmd"] == ["serve"]
    assert config["Volumes"].keys() == {"/data"}
    assert "/health/live" in " ".join(config["Healthcheck"]["Test"])
    assert not [each for each in config["Env"] if "PIP" in each or "PROXY" in each.upper()]


def test_it_holds_what_the_list_says_and_nothing_of_the_gpu_tier(root: Path) -> None:
    packages = root / "opt" / "voxify" / "lib" / "python3.11" / "site-packages"
    there = {path.name.split("-")[0].lower().replace("_", "-") for path in packages.glob("*.dist-info")}
    assert {name.replace(".", "-") for name in listed(ROOT / "requirements" / "api.txt")} | {"voxify"} == {
        name.replace(".", "-") for name in there
    }
    assert not (packages / "inference").exists()
    assert not (packages / "torch").exists()
    assert (packages / "store" / "presets" / "presets.toml").is_file()
    assert list(packages.glob("api/__pycache__/app.*.pyc")), "a read-only file system keeps nothing that Python compiles"


def test_the_list_of_contents_names_every_package_and_its_licence() -> None:
    found = json.loads((OUT / "api.cdx.json").read_text())
    assert found["bomFormat"] == "CycloneDX"
    names = {component["name"].lower().replace("_", "-").replace(".", "-") for component in found["components"]}
    assert names >= {name.replace(".", "-") for name in listed(ROOT / "requirements" / "api.txt")}
    licensed = [component for component in found["components"] if component.get("licenses")]
    assert len(licensed) > 0.9 * len(found["components"])


def test_its_entry_point_answers_and_writes_nowhere_but_where_it_may(container: str, root: Path, tmp_path: Path) -> None:
    port, log_file, data = free_port(), tmp_path / "log", tmp_path / "data"
    data.mkdir()
    os.chown(data, 10001, 10001)
    before = tmp_path / "before"
    before.touch()
    environment = {"VOXIFY_JWT_SECRET": "0123456789abcdef" * 4, "VOXIFY_API_PORT": str(port), "VOXIFY_API_HOST": "127.0.0.1"}
    # Not /data, over which buildah lays a volume of its own.
    environment["VOXIFY_DATA_DIR"] = "/mnt/data"
    options = [option for name, value in environment.items() for option in ("--env", f"{name}={value}")]
    options += ["--isolation", "chroot", "--volume", f"{data}:/mnt/data"]
    command = ["buildah", *STORE, "run", *options, container, "--", "voxify", "serve"]
    with log_file.open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        url = f"http://127.0.0.1:{port}"
        wait_until_ready(url, process, log_file, path="/health/live")
        parts = httpx.get(f"{url}/health/ready").json()["data"]["parts"]
        assert {parts[name]["status"] for name in ("database", "objects", "vectors", "queue")} == {"ok"}
        assert httpx.get(f"{url}/docs").status_code == 200
    finally:
        stop(process)
    assert (data / "voxify.db").stat().st_uid == 10001
    written = subprocess.run(
        ["find", str(root), "-xdev", "-newer", str(before), "-type", "f", "-not", "-path", f"{root}/tmp/*"],
        capture_output=True,
        text=True,
        check=True,
    )
    # What buildah itself lays over it.
    assert {Path(line).name for line in written.stdout.splitlines()} <= {"hosts", "resolv.conf", ".containerenv"}


@pytest.mark.parametrize("command", [["worker", "--help"], ["beat", "--help"], ["db", "--help"]], ids=lambda command: command[0])
def test_it_is_the_image_of_workers_and_beat_too(container: str, command: list[str]) -> None:
    assert "Usage" in buildah("run", "--isolation", "chroot", container, "--", "voxify", *command)


def test_every_module_of_ours_finds_what_it_imports(container: str) -> None:
    """Much is imported only where it is asked for: with Celery, with S3, with Qdrant."""
    script = """if True:
        import importlib, pkgutil
        for room in ("api", "audio", "store", "worker"):
            for module in pkgutil.walk_packages([importlib.import_module(room).__path__[0]], f"{room}."):
                # Scripts that a program of theirs runs.
                if not module.name.startswith("store.migrations") and not module.name.endswith("__main__"):
                    importlib.import_module(module.name)
                    print(module.name)
    """
    imported = buildah("run", "--isolation", "chroot", container, "--", "python", "-c", script).splitlines()
    assert {"worker.celery_app", "store.vectors", "api.app"} <= set(imported)


def test_the_image_of_inference_is_made_of_the_bento(image: str, tmp_path: Path) -> None:
    """Of the packages only those that its command line needs: the others take gigabytes."""
    environment = os.environ | {"BENTOML_HOME": str(tmp_path / "bentoml"), "BENTOML_DO_NOT_TRACK": "True"}
    subprocess.run([sys.executable, "-m", "bentoml", "build"], cwd=ROOT, env=environment, capture_output=True, check=True, timeout=300)
    (bento,) = (path.parent for path in (tmp_path / "bentoml").glob("bentos/voxify_inference/*/bento.yaml"))
    # The folder that images are built in has files of the same names.
    assert {path.name for path in (bento / "src").iterdir()} == {"audio", "bentofile.yaml", "inference", "settings.py", "tracing.py"}
    wanted = bento / "env" / "python" / "requirements.txt"
    needed = re.compile(r"(annotated-types|pydantic|pydantic-core|pydantic-settings|python-dotenv|typing-extensions|typing-inspection)==")
    kept = [line for line in wanted.read_text().splitlines() if needed.match(line)]
    # What the variant leaves out could not be had from here.
    wanted.write_text("\n".join([*kept, "nvidia-nothing==1.0", "cuda-nothing==1.0", "triton==0.0"]) + "\n")
    arguments = {"BASE_IMAGE": "localhost/voxify-base", "BUILD_IMAGE": "localhost/voxify-builder", "VARIANT": "cpu"}
    arguments |= {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/wheels"}
    options = [option for name, value in arguments.items() for option in ("--build-arg", f"{name}={value}")]
    file = str(ROOT / "deploy" / "docker" / "inference.Dockerfile")
    name = "voxify-inference-light"
    buildah("bud", "--isolation", "chroot", "--format", "docker", "--file", file, "--tag", name, *options, "--volume", WHEELS, str(bento))
    made = buildah("from", "--pull-never", name)
    try:
        assert "The inference service of Voxify" in buildah(
            "run", "--isolation", "chroot", made, "--", "python", "-m", "inference", "--help"
        )
        whoami = buildah("run", "--isolation", "chroot", made, "--", "python", "-c", "import os; print(os.getuid(), os.getcwd())")
        assert whoami == "10001 /app"
    finally:
        buildah("rm", made)
        buildah("rmi", name)
