"""Which model speaks which language, under what licence, and whether it can be used here. No torch, no network.

A model is a name in ``models.toml``, a voice that is bundled in ``inference/voices/<name>/``, or a folder that the settings name.
Folders have the layout of the hub: ``model_*.safetensors`` or ``.pt``, ``vocab.txt``, and optionally ``config.toml`` or
``config.yaml`` (see :func:`spec_from_folder`).
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

from inference import checkpoints, tuned
from inference.errors import LanguageUnavailableError, ModelUnavailableError

MODELS_FILE = Path(__file__).with_name("models.toml")
VOICES_DIR = Path(__file__).with_name("voices")
SMOKE = "smoke"

Level = Literal["native", "specialised", "fallback"]
VocoderName = Literal["vocos", "griffin-lim", "random-phase"]
Spelling = Literal["characters", "phonemes"]


@dataclass(frozen=True)
class ModelSpec:
    """What is known about a model without loading it.

    Attributes:
        architecture: keyword arguments of upstream's ``DiT``.
        languages: primary language subtags that it was trained on.
        speech: False for weights that were never trained.
        repository: on the model hub; None for folders and seeded weights.
        checkpoint, vocabulary: paths within the repository; None where it has none, and a folder must.
        folder: a folder that holds the model, instead of a repository.
        spelling: what its tokens are: ``characters`` (and pinyin) as upstream's, or English ``phonemes`` with their times.
        max_frames: longest utterance that it saw in training, reference included; None: thirty seconds.
        max_reference_frames: longest part of a reference that it is given; None: all of it.
    """

    name: str
    architecture: Mapping[str, Any]
    license: str
    commercial_use: bool
    languages: tuple[str, ...]
    speech: bool = True
    vocoder: VocoderName = "vocos"
    repository: str | None = None
    checkpoint: str | None = None
    vocabulary: str | None = None
    folder: Path | None = None
    spelling: Spelling = "characters"
    max_frames: int | None = None
    max_reference_frames: int | None = None

    @property
    def seeded(self) -> bool:
        """Whether its weights come from a seed and not from a file."""
        return self.repository is None and self.folder is None


@dataclass(frozen=True)
class Language:
    """A row of the language table: what is promised when the models for it are there."""

    code: str
    level: Level
    models: tuple[str, ...] = ()


@dataclass(frozen=True)
class Resolution:
    """Which model speaks a language here, how well, and why not better."""

    model: ModelSpec
    language: str
    support: Level
    reason: str | None = None


def spec_from_folder(folder: Path, architectures: Mapping[str, Mapping[str, Any]]) -> ModelSpec:
    """Describe a local model by its ``config.toml`` or ``config.yaml``.

    Keys: ``architecture`` (a name or a table; upstream's ``model.arch`` is understood), ``license``, ``commercial_use``,
    ``languages``, ``speech``, ``vocoder``, ``spelling``, ``max_frames``, ``max_reference_frames``. Without a configuration it is taken
    for an F5TTS_v1_Base fine-tune of unknown licence.

    Raises:
        ModelUnavailableError: the configuration cannot be read.
    """
    config = checkpoints.read_config(folder)
    architecture = config.get("architecture") or config.get("model", {}).get("arch") or "v1_base"
    if isinstance(architecture, str):
        if architecture not in architectures:
            raise ModelUnavailableError(f"The architecture {architecture!r} of the model in {folder.name} is not known.")
        architecture = architectures[architecture]
    vocoder = config.get("vocoder", "vocos")
    return ModelSpec(
        name=folder.name,
        architecture=checkpoints.clean_architecture(architecture),
        license=str(config.get("license", "unknown")),
        commercial_use=bool(config.get("commercial_use", False)),
        languages=tuple(primary(code) for code in config.get("languages", ["en", "zh"])),
        speech=bool(config.get("speech", True)),
        vocoder=vocoder if vocoder in get_args(VocoderName) else "vocos",
        folder=folder,
        spelling="phonemes" if config.get("spelling") == "phonemes" else "characters",
        max_frames=config.get("max_frames"),
        max_reference_frames=config.get("max_reference_frames"),
    )


def primary(code: str) -> str:
    """Primary subtag of a language code: ``en`` of ``en-US``."""
    return code.replace("_", "-").split("-")[0].lower()


@dataclass
class Registry:
    """The models and languages of one machine.

    Args:
        models_dir: where fetched checkpoints lie, one folder a model.
        model: a name, a folder, or ``auto``.
        commercial_only: refuse models whose licence forbids commercial use.
        cuda: whether there is a GPU, which decides ``auto``.
    """

    models_dir: Path
    model: str = "auto"
    commercial_only: bool = False
    cuda: bool = False
    voices_dir: Path = VOICES_DIR
    specs: dict[str, ModelSpec] = field(init=False, default_factory=dict)
    languages: dict[str, Language] = field(init=False, default_factory=dict)
    default: str = field(init=False)
    failures: dict[str, str] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        table = tomllib.loads(MODELS_FILE.read_text(encoding="utf-8"))
        architectures = table["architectures"]
        for name, row in table["models"].items():
            row["architecture"] = architectures[row["architecture"]]
            row["languages"] = tuple(row["languages"])
            self.specs[name] = ModelSpec(name=name, **row)
        for code, row in table["languages"].items():
            self.languages[code] = Language(code, row["level"], tuple(row["models"]))
        self.bundled = self._add_folders(sorted(self.voices_dir.glob("*/")) if self.voices_dir.is_dir() else [], architectures)
        if self.model != "auto" and Path(self.model).is_dir():
            self.default = self._add_folders([Path(self.model).absolute()], architectures)[0]
        elif self.model != "auto":
            self.default = self.model
        else:
            self.default = self._best()

    def _add_folders(self, folders: Iterable[Path], architectures: Mapping[str, Mapping[str, Any]]) -> list[str]:
        names = []
        for folder in folders:
            spec = spec_from_folder(folder, architectures)
            self.specs[spec.name] = spec
            names.append(spec.name)
        return names

    def _best(self) -> str:
        if self.cuda:
            return "OpenF5-TTS-Base" if self.commercial_only else "F5TTS_v1_Base"
        return self.without_download()

    def without_download(self) -> str:
        """Name of the voice that is always there: a bundled one, or the smoke voice."""
        return next((name for name in self.bundled if self.refusal(name) is None), SMOKE)

    def spec(self, name: str) -> ModelSpec:
        """The model of this name; ModelUnavailableError if there is none.

        A fine-tuned voice is looked for in its folder each time and stands in no list: who does not know its name cannot find it.
        """
        if name.startswith(tuned.PREFIX):
            return replace(spec_from_folder(tuned.voice_folder(self.models_dir, name), {}), name=name)
        if name not in self.specs:
            raise ModelUnavailableError(f"There is no model named {name!r}.", {"models": sorted(self.specs)})
        return self.specs[name]

    def refusal(self, name: str) -> str | None:
        """Why a model cannot be used, for a person; None where it can."""
        spec = self.spec(name)
        if self.commercial_only and not spec.commercial_use:
            return f"Its licence ({spec.license}) forbids commercial use, and this installation is commercial."
        if name in self.failures:
            return self.failures[name]
        if spec.seeded:
            return None
        try:
            checkpoints.locate(self.folder(spec), spec.checkpoint, spec.vocabulary)
        except ModelUnavailableError as error:
            return error.message if spec.repository is None else self._not_here(spec)
        return None

    def _not_here(self, spec: ModelSpec) -> str:
        if spec.checkpoint is None:
            return f"No checkpoint of it is published. Put one (model_*.safetensors) and its vocab.txt into {self.folder(spec)}."
        return f"Not fetched yet: python -m inference fetch {spec.name}"

    def check_licence(self, name: str) -> None:
        """Raise ModelUnavailableError where the settings refuse the model's licence, or there is no such model."""
        spec = self.spec(name)
        if self.commercial_only and not spec.commercial_use:
            self.usable(name)

    def folder(self, spec: ModelSpec) -> Path:
        """Where the files of a model are, or would be."""
        return spec.folder if spec.folder is not None else self.models_dir / spec.name

    def revision(self, spec: ModelSpec) -> str:
        """A short name for the files of a model as they are now, told by their names, sizes and times: weights are too large to read."""
        if spec.seeded:
            return "seeded"
        files = checkpoints.locate(self.folder(spec), spec.checkpoint, spec.vocabulary)
        stats = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in (*files.checkpoint, files.vocabulary)]
        return hashlib.sha256(repr(stats).encode()).hexdigest()[:16]

    def usable(self, name: str) -> ModelSpec:
        """The model, where it can be used; ModelUnavailableError with the reason otherwise."""
        spec = self.spec(name)
        reason = self.refusal(name)
        if reason is not None:
            raise ModelUnavailableError(f"The model {name} is not available. {reason}", {"model": name, "reason": reason})
        return spec

    def language(self, code: str) -> Language:
        """The row of a language code, by region or by primary subtag; LanguageUnavailableError for one that nothing speaks."""
        wanted = code.replace("_", "-").lower()
        by_code = {known.lower(): row for known, row in self.languages.items()}
        if wanted in by_code:
            return by_code[wanted]
        for row in self.languages.values():
            if primary(row.code) == primary(wanted):
                return row
        if any(primary(wanted) in spec.languages for spec in self.specs.values()):
            return Language(code, "specialised")
        raise LanguageUnavailableError(f"The language {code!r} is not supported.", {"languages": sorted(self.languages)})

    def resolve(self, code: str, model: str | None = None) -> Resolution:
        """Choose the model for a language.

        Without ``model``: the default model where it speaks the language, else the first usable one of the language's row, else any
        usable one that speaks it, else the default model as a named fallback.

        Raises:
            ModelUnavailableError: the named model cannot be used, or no model can.
            LanguageUnavailableError: the language is not known.
        """
        row = self.language(code)
        speaks = [name for name, spec in self.specs.items() if primary(code) in spec.languages and spec.speech]
        if model is not None:
            spec = self.usable(model)
            return self._as(spec, row, spec.name in row.models or primary(code) in spec.languages)
        first = [self.default] if self.default in self.specs and primary(code) in self.specs[self.default].languages else []
        for name in [*first, *row.models, *speaks]:
            if self.refusal(name) is None:
                return self._as(self.specs[name], row, True)
        return self._as(self.usable(self.default), row, False)

    @staticmethod
    def _as(spec: ModelSpec, row: Language, speaks: bool) -> Resolution:
        if speaks:
            return Resolution(spec, row.code, "native" if row.level == "native" else "specialised")
        return Resolution(
            spec, row.code, "fallback", f"No model for {row.code} is here; {spec.name} reads it with the sounds of its own languages."
        )
