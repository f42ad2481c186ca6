from tests.api.conftest import logs

__all__ = ["logs"]
