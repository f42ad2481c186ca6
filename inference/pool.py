"""The models in memory: the default one from the start, others when an item first asks for them."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

import structlog
import torch

from inference.errors import ModelUnavailableError
from inference.loading import LoadedModel, fetch_model, load_model
from inference.registry import Registry
from inference.tuned import PREFIX

MAX_TUNED = 4
"""Fine-tuned voices in memory at once; the least recently used one goes."""

log = structlog.get_logger()


class ModelPool:
    """Loads models of a registry, each once. Safe to use from several threads.

    Args:
        device: ``cpu``, ``cuda`` or ``cuda:N``.
        dtype: that models compute in; None leaves it to the device.
        memory_mb: most MiB that the weights of all models may take, 0 for no bound. Over it the least recently used ones go; the
            default one and the one just asked for stay.
    """

    def __init__(
        self,
        registry: Registry,
        *,
        device: str = "cpu",
        dtype: torch.dtype | None = None,
        memory_mb: float = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.registry, self.device, self.dtype, self.memory_mb = registry, device, dtype, memory_mb
        self._clock = clock
        self._loaded: OrderedDict[str, LoadedModel] = OrderedDict()
        self._used: dict[str, float] = {}
        self._lock = threading.Lock()

    def start(self) -> None:
        """Fetch and load the default model.

        With ``auto``, a model that cannot be had is replaced by the voice that is always there; the registry keeps the reason.

        Raises:
            ModelUnavailableError: the model that the settings name cannot be used.
        """
        name = self.registry.default
        try:
            self._fetch_and_load(name)
        except ModelUnavailableError as error:
            substitute = self.registry.without_download()
            if self.registry.model != "auto" or substitute == name:
                raise
            log.warning("default_model_replaced", model=name, reason=error.message, substitute=substitute)
            self.registry.default = substitute
            self._fetch_and_load(substitute)

    def _fetch_and_load(self, name: str) -> None:
        try:
            self.registry.check_licence(name)
            fetch_model(self.registry, name)
        except ModelUnavailableError as error:
            self.registry.failures[name] = error.message
            raise
        self.load(name)

    def load(self, name: str) -> LoadedModel:
        """The model of this name, from memory or from its files.

        Raises:
            ModelUnavailableError: it cannot be used. Damaged files are remembered, so that the registry passes the model over.
        """
        with self._lock:
            self._used[name] = self._clock()
            if name in self._loaded:
                self._loaded.move_to_end(name)
                return self._loaded[name]
            started = time.monotonic()
            try:
                model = load_model(self.registry, name, device=self.device, dtype=self.dtype)
            except ModelUnavailableError as error:
                if name in self.registry.specs and self.registry.refusal(name) is None:
                    self.registry.failures[name] = error.message
                raise
            self._loaded[name] = model
            self._keep_within_memory()
            self._keep_few_tuned()
            log.info("model_loaded", model=name, device=self.device, seconds=round(time.monotonic() - started, 3))
            return model

    def unload_idle(self, seconds: float) -> list[str]:
        """Unload the models that nobody has asked for in the last `seconds`, the default one too; their names."""
        with self._lock:
            idle = [name for name in self._loaded if self._clock() - self._used[name] >= seconds]
            for name in idle:
                self._unload(name, "idle")
        return idle

    def _keep_within_memory(self) -> None:
        if not self.memory_mb:
            return
        for name in list(self._loaded)[:-1]:
            if sum(model.size_mb for model in self._loaded.values()) <= self.memory_mb:
                return
            if name != self.registry.default:
                self._unload(name, "memory")

    def _keep_few_tuned(self) -> None:
        """Of models without number, each one person's."""
        tuned = [name for name in self._loaded if name.startswith(PREFIX)]
        for name in tuned[: max(0, len(tuned) - MAX_TUNED)]:
            self._unload(name, "tuned")

    def unload(self, name: str) -> None:
        """Unload a model whose files have gone; nothing where it is not loaded."""
        with self._lock:
            if name in self._loaded:
                self._unload(name, "removed")

    def _unload(self, name: str, reason: str) -> None:
        # A batch that still runs with it keeps it alive until it ends.
        del self._loaded[name]
        if self.device.startswith("cuda"):
            torch.cuda.empty_cache()
        log.info("model_unloaded", model=name, reason=reason)

    def names(self) -> list[str]:
        """Names of the models in memory, the least recently used one first."""
        with self._lock:
            return list(self._loaded)

    def for_language(self, language: str, name: str | None) -> LoadedModel:
        """The model of a language, or the named one. A damaged one is passed over for the next in line.

        Raises:
            ModelUnavailableError, LanguageUnavailableError: as ``Registry.resolve``.
        """
        while True:
            chosen = self.registry.resolve(language, name).model.name
            try:
                return self.load(chosen)
            except ModelUnavailableError:
                # The registry passes a model over only once it knows a reason against it.
                if name is not None or chosen == self.registry.default or self.registry.refusal(chosen) is None:
                    raise
