from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.collector import Collector, collecting
from tests.e2e.voxify import ApiProcess, Person, api_process
from tests.servers import inference_server

_numbers = count(1)


@pytest.fixture(scope="session")
def inference_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("inference")


@pytest.fixture(scope="session")
def collector() -> Iterator[Collector]:
    """What everything here is traced by, so that all that the tests do may be looked through."""
    with collecting() as started:
        yield started


@pytest.fixture(scope="session")
def inference_url(inference_folder: Path, collector: Collector) -> Iterator[str]:
    with inference_server(inference_folder, VOXIFY_OTLP_ENDPOINT=collector.endpoint) as url:
        yield url


@pytest.fixture(scope="session")
def inference_log(inference_url: str, inference_folder: Path) -> Path:
    return inference_folder / "inference.log"


@pytest.fixture(scope="session")
def api(tmp_path_factory: pytest.TempPathFactory, inference_url: str, collector: Collector) -> Iterator[ApiProcess]:
    with api_process(tmp_path_factory.mktemp("voxify"), inference_url, VOXIFY_OTLP_ENDPOINT=collector.endpoint) as started:
        yield started


@pytest.fixture
def newcomer(api: ApiProcess) -> Callable[[], Person]:
    """Call it for a new person each time."""
    return lambda: Person(api.url, f"e2e-{next(_numbers)}@example.com")


@pytest.fixture(scope="session")
def speaker(api: ApiProcess) -> tuple[Person, str]:
    """A person with a voice that is ready."""
    person = Person(api.url, "speaker@example.com")
    return person, person.clone()
