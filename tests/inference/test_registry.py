from pathlib import Path

import pytest

from inference.errors import LanguageUnavailableError, ModelUnavailableError
from inference.registry import VOICES_DIR, Registry
from tests.inference.models import registry, save_model

DOCUMENTED = {
    "native": {"zh-CN", "zh-TW", "en-US", "en-GB"},
    "specialised": {"ja-JP", "fr-FR", "de-DE", "es-ES", "it-IT", "ru-RU", "hi-IN"},
    "fallback": {"ko-KR", "pt-BR", "ar-SA", "th-TH", "vi-VN"},
}


def pretend(found: Registry, name: str) -> None:
    """Put files where a fetched model would be; nothing reads them here."""
    spec = found.spec(name)
    for path in (spec.checkpoint, spec.vocabulary):
        assert path
        file = found.folder(spec) / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"")


def test_the_documents_levels_are_promised(tmp_path: Path) -> None:
    languages = registry(tmp_path).languages
    for level, codes in DOCUMENTED.items():
        assert all(languages[code].level == level for code in codes)


def test_every_model_of_a_language_speaks_it(tmp_path: Path) -> None:
    found = registry(tmp_path)
    for code, row in found.languages.items():
        for name in row.models:
            assert code.split("-")[0] in found.spec(name).languages


def test_every_model_names_its_files_and_its_licence(tmp_path: Path) -> None:
    for name, spec in registry(tmp_path).specs.items():
        assert spec.license
        assert spec.seeded == (name == "smoke")
        assert spec.seeded or (spec.repository and spec.checkpoint and spec.vocabulary) or name == "F5TTS_v1_Small"
        assert not (spec.commercial_use and "NC" in spec.license)


def test_nothing_is_available_that_was_not_fetched(tmp_path: Path) -> None:
    found = registry(tmp_path)
    assert [name for name in found.specs if found.refusal(name) is None] == ["smoke"]
    with pytest.raises(ModelUnavailableError, match="python -m inference fetch F5TTS_v1_Base"):
        found.usable("F5TTS_v1_Base")


def test_a_model_that_is_published_nowhere_speaks_from_a_folder_of_its_name(tmp_path: Path) -> None:
    found = registry(tmp_path)
    with pytest.raises(ModelUnavailableError, match="No checkpoint of it is published"):
        found.usable("F5TTS_v1_Small")
    folder = found.folder(found.spec("F5TTS_v1_Small"))
    folder.mkdir(parents=True)
    (folder / "model_500000.safetensors").write_bytes(b"weights")
    (folder / "vocab.txt").write_text(" \na\n")
    assert found.usable("F5TTS_v1_Small").architecture["dim"] == 768


def test_auto_takes_the_best_that_the_machine_can_run(tmp_path: Path) -> None:
    assert registry(tmp_path, cuda=True).default == "F5TTS_v1_Base"
    assert registry(tmp_path, cuda=True, commercial_only=True).default == "OpenF5-TTS-Base"
    assert registry(tmp_path).default == "smoke"


def test_a_bundled_voice_comes_before_smoke(tmp_path: Path) -> None:
    save_model(tmp_path / "voices" / "linda")
    found = registry(tmp_path)
    assert found.default == "linda"
    assert found.resolve("en-US").model.name == "linda"


def test_bundled_voices_have_their_place() -> None:
    assert VOICES_DIR.parts[-2:] == ("inference", "voices")


def test_a_folder_is_a_model(tmp_path: Path) -> None:
    folder = save_model(tmp_path / "mine")
    found = registry(tmp_path, model=str(folder))
    spec = found.usable("mine")
    assert found.default == "mine"
    assert (spec.license, spec.commercial_use, spec.languages, spec.vocoder) == ("MIT", True, ("en",), "random-phase")


def test_a_folder_without_a_configuration_is_a_base_model_of_unknown_licence(tmp_path: Path) -> None:
    found = registry(tmp_path, model=str(save_model(tmp_path / "mine", config="")), commercial_only=True)
    assert found.spec("mine").architecture["dim"] == 1024
    with pytest.raises(ModelUnavailableError, match="commercial"):
        found.usable("mine")


def test_upstreams_training_configuration_is_understood(tmp_path: Path) -> None:
    folder = save_model(tmp_path / "mine", config="")
    (folder / "config.yaml").write_text(
        "model:\n  arch:\n    dim: 48\n    depth: 1\n    attn_mask_enabled: false\n    checkpoint_activations: false\n"
    )
    assert registry(tmp_path, model=str(folder)).spec("mine").architecture == {"dim": 48, "depth": 1}


@pytest.mark.parametrize("config", ["architecture = ", 'architecture = "unheard_of"'])
def test_a_damaged_configuration_is_an_error(tmp_path: Path, config: str) -> None:
    folder = save_model(tmp_path / "mine", config=config)
    with pytest.raises(ModelUnavailableError):
        registry(tmp_path, model=str(folder))


def test_unknown_names_are_errors(tmp_path: Path) -> None:
    found = registry(tmp_path)
    with pytest.raises(ModelUnavailableError) as model:
        found.resolve("en-US", "nobody")
    assert "smoke" in model.value.details["models"]
    with pytest.raises(LanguageUnavailableError):
        found.resolve("xx-XX")


def test_commercial_only_refuses_by_licence(tmp_path: Path) -> None:
    found = registry(tmp_path, commercial_only=True)
    for name in ("F5TTS_v1_Base", "F5-TTS-Hindi"):
        pretend(found, name)
    reason = found.refusal("F5TTS_v1_Base")
    assert reason is not None
    assert "CC-BY-NC-4.0" in reason
    assert found.refusal("F5-TTS-Hindi") is None


@pytest.mark.parametrize("code", ["en-US", "en", "EN_us", "en-AU"])
def test_codes_are_read_kindly(tmp_path: Path, code: str) -> None:
    assert registry(tmp_path).resolve(code).support == "native"


def test_a_language_takes_its_own_model_when_it_is_there(tmp_path: Path) -> None:
    found = registry(tmp_path)
    before = found.resolve("ja-JP")
    assert (before.support, before.model.name) == ("fallback", "smoke")
    assert before.reason is not None
    assert "ja-JP" in before.reason
    pretend(found, "F5-TTS-Japanese")
    after = found.resolve("ja-JP")
    assert (after.support, after.model.name, after.reason) == ("specialised", "F5-TTS-Japanese", None)


def test_a_model_that_failed_is_passed_over(tmp_path: Path) -> None:
    found = registry(tmp_path)
    pretend(found, "F5-TTS-Japanese")
    found.failures["F5-TTS-Japanese"] = "damaged"
    assert found.resolve("ja-JP").model.name == "smoke"


def test_the_default_model_comes_first_in_its_languages(tmp_path: Path) -> None:
    found = registry(tmp_path, model=str(save_model(tmp_path / "mine")))
    pretend(found, "F5TTS_v1_Base")
    assert found.resolve("en-GB").model.name == "mine"
    assert found.resolve("zh-CN").model.name == "F5TTS_v1_Base"


def test_a_named_model_is_taken_at_its_word(tmp_path: Path) -> None:
    found = registry(tmp_path)
    assert found.resolve("en-US", "smoke").support == "native"
    assert found.resolve("ja-JP", "smoke").support == "fallback"


def test_a_model_of_one_more_language_adds_it(tmp_path: Path) -> None:
    folder = save_model(tmp_path / "mine", config='languages = ["pl"]\nvocoder = "random-phase"\n')
    resolution = registry(tmp_path, model=str(folder)).resolve("pl-PL")
    assert (resolution.model.name, resolution.support) == ("mine", "specialised")
