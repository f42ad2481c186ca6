"""The real loading code up to the hub's door."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from inference import checkpoints, loading, service, upstream
from inference.errors import ModelUnavailableError
from inference.pool import ModelPool
from inference.threads import physical_cores
from settings import Settings
from tests.inference.models import ARCHITECTURE, TOKENS, registry, save_model, weights


@pytest.mark.parametrize("name", ["model_100.safetensors", "model_100.pt", "model.safetensors"])
def test_weights_come_back(tmp_path: Path, name: str) -> None:
    state = weights()
    found = registry(tmp_path, model=str(save_model(tmp_path / "mine", name=name, state=state)))
    model = loading.load_model(found, "mine", dtype=torch.float32)
    for key, value in model.sampler.transformer.state_dict().items():
        assert torch.equal(value, state[key])
    assert len(model.vocabulary) == len(TOKENS)
    assert not any(parameter.requires_grad for parameter in model.sampler.transformer.parameters())


def test_every_attention_is_masked(tmp_path: Path) -> None:
    network = loading.load_model(registry(tmp_path), "smoke").sampler.transformer
    assert all(block.attn.processor.attn_mask_enabled for block in network.transformer_blocks)


def test_plain_weights_are_understood(tmp_path: Path) -> None:
    folder = save_model(tmp_path / "mine")
    (folder / "model_100.safetensors").unlink()
    torch.save({"model_state_dict": {f"transformer.{key}": value for key, value in weights().items()}}, folder / "model_last.pt")
    assert loading.load_model(registry(tmp_path, model=str(folder)), "mine").spec.name == "mine"


def test_shards_are_joined(tmp_path: Path) -> None:
    folder = save_model(tmp_path / "mine")
    (folder / "model_100.safetensors").unlink()
    items = list(weights().items())
    for part, some in enumerate((items[:10], items[10:]), start=1):
        save_file(dict(some), folder / f"model_200-{part:05}-of-00002.safetensors")
    found = registry(tmp_path, model=str(folder))
    assert loading.load_model(found, "mine").spec.name == "mine"
    (folder / "model_200-00002-of-00002.safetensors").unlink()
    assert "1 of 2 parts" in (found.refusal("mine") or "")


def test_the_latest_checkpoint_is_taken(tmp_path: Path) -> None:
    folder = save_model(tmp_path / "mine", name="model_900.safetensors")
    save_model(folder, name="model_1000.safetensors")
    assert checkpoints.locate(folder).checkpoint == (folder / "model_1000.safetensors",)


def test_a_checkpoint_of_another_architecture_is_refused(tmp_path: Path) -> None:
    found = registry(tmp_path, model=str(save_model(tmp_path / "mine", state=weights(depth=2))))
    with pytest.raises(ModelUnavailableError, match="does not fit its architecture"):
        loading.load_model(found, "mine")


def test_a_checkpoint_of_another_vocabulary_is_refused(tmp_path: Path) -> None:
    found = registry(tmp_path, model=str(save_model(tmp_path / "mine", state=weights(7))))
    with pytest.raises(ModelUnavailableError, match=f"has {len(TOKENS)} entries, its checkpoint 7"):
        loading.load_model(found, "mine")


class Dangerous:
    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (Path("must-not-exist"),))


@pytest.mark.parametrize("name", ["model_100.safetensors", "model_100.pt"])
def test_a_damaged_checkpoint_is_an_error(tmp_path: Path, name: str) -> None:
    folder = save_model(tmp_path / "mine", name=name)
    (folder / name).write_bytes(b"no checkpoint")
    with pytest.raises(ModelUnavailableError, match="cannot be read"):
        loading.load_model(registry(tmp_path, model=str(folder)), "mine")


def test_a_checkpoint_cannot_run_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = save_model(tmp_path / "mine", name="model_100.pt")
    torch.save({"ema_model_state_dict": Dangerous()}, folder / "model_100.pt")
    with pytest.raises(ModelUnavailableError, match="cannot be read"):
        loading.load_model(registry(tmp_path, model=str(folder)), "mine")
    assert not Path("must-not-exist").exists()


def test_a_missing_vocabulary_is_an_error(tmp_path: Path) -> None:
    folder = save_model(tmp_path / "mine")
    (folder / "vocab.txt").unlink()
    assert "no vocabulary" in (registry(tmp_path, model=str(folder)).refusal("mine") or "")


def test_a_missing_vocoder_is_named(tmp_path: Path) -> None:
    folder = save_model(tmp_path / "mine")
    config = (folder / "config.toml").read_text().replace("random-phase", "vocos")
    (folder / "config.toml").write_text(config)
    with pytest.raises(ModelUnavailableError, match="vocoder is not fetched"):
        loading.load_model(registry(tmp_path, model=str(folder)), "mine")


def test_a_hub_that_cannot_be_reached_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    found = registry(tmp_path)
    with pytest.raises(ModelUnavailableError, match="could not be fetched from SWivid/F5-TTS"):
        loading.fetch_model(found, "F5TTS_v1_Base")


def test_what_is_there_is_not_fetched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def download(repository: str, name: str, local_dir: Path) -> None:
        asked.append(f"{repository}/{name}")
        (local_dir / name).parent.mkdir(parents=True, exist_ok=True)
        (local_dir / name).write_bytes(b"")

    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    found = registry(tmp_path)
    loading.fetch_model(found, "F5TTS_v1_Base")
    assert asked == [
        "SWivid/F5-TTS/F5TTS_v1_Base/vocab.txt",
        "SWivid/F5-TTS/F5TTS_v1_Base/model_1250000.safetensors",
        "charactr/vocos-mel-24khz/config.yaml",
        "charactr/vocos-mel-24khz/pytorch_model.bin",
    ]
    assert found.refusal("F5TTS_v1_Base") is None
    loading.fetch_model(found, "F5TTS_v1_Base")
    assert len(asked) == 4


def test_auto_falls_back_to_the_voice_that_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    pool = ModelPool(registry(tmp_path, cuda=True))
    pool.start()
    assert pool.registry.default == "smoke"
    assert "could not be fetched" in (pool.registry.refusal("F5TTS_v1_Base") or "")


def test_a_model_that_was_named_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelUnavailableError):
        ModelPool(registry(tmp_path, model="F5TTS_Base")).start()


def test_a_refused_licence_is_not_even_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inference.pool.fetch_model", lambda *_: pytest.fail("fetched"))
    with pytest.raises(ModelUnavailableError, match="commercial"):
        ModelPool(registry(tmp_path, model="F5TTS_Base", commercial_only=True)).start()


def test_a_damaged_model_is_passed_over_for_its_language(tmp_path: Path) -> None:
    found = registry(tmp_path)
    spec = found.spec("F5-TTS-Japanese")
    folder = found.folder(spec)
    folder.mkdir(parents=True)
    (folder / "model_21999120.pt").write_bytes(b"damaged")
    (folder / "vocab_japanese.txt").write_text("\n".join(TOKENS) + "\n")
    pool = ModelPool(found)
    assert pool.for_language("ja-JP", None).spec.name == "smoke"
    assert "cannot be read" in (found.refusal("F5-TTS-Japanese") or "")
    with pytest.raises(ModelUnavailableError):
        pool.for_language("ja-JP", "F5-TTS-Japanese")


def test_the_least_recently_used_models_go_when_memory_is_short(tmp_path: Path) -> None:
    names = [f"v{i}" for i in range(4)]
    for name in names:
        save_model(tmp_path / "voices" / name)
    found = registry(tmp_path, model="smoke")
    free = ModelPool(found)
    sizes = {name: free.load(name).size_mb for name in ("smoke", *names)}
    assert set(free.names()) == set(sizes), "without a bound all stay"
    pool = ModelPool(found, memory_mb=sizes["smoke"] + 2.5 * sizes["v0"])
    for name in ("smoke", "v0", "v1", "v0", "v2", "v3"):
        pool.load(name)
    assert set(pool.names()) == {"smoke", "v2", "v3"}, "the default stays, though nobody has asked for it for longest"
    assert pool.load("smoke") is pool.load("smoke")
    tight = ModelPool(found, memory_mb=0.001)
    assert tight.load("v0").spec.name == "v0", "what is asked for is loaded, whatever the bound"


def test_idle_models_go_and_come_back(tmp_path: Path) -> None:
    save_model(tmp_path / "voices" / "v0")
    now = 0.0
    pool = ModelPool(registry(tmp_path, model="smoke"), clock=lambda: now)
    pool.load("smoke")
    now = 50.0
    pool.load("v0")
    assert pool.unload_idle(60) == []
    now = 70.0
    assert pool.unload_idle(60) == ["smoke"]
    assert pool.names() == ["v0"]
    assert pool.load("smoke").spec.name == "smoke"


@pytest.mark.parametrize(
    ("capable", "dtype"), [({"avx512_bf16": True}, torch.bfloat16), ({"amx_bf16": True}, torch.bfloat16), ({}, torch.float32)]
)
def test_a_processor_that_multiplies_bfloat16_is_used(
    monkeypatch: pytest.MonkeyPatch, capable: dict[str, bool], dtype: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capable)
    assert loading.choose_dtype("cpu") is dtype
    assert loading.choose_dtype("cpu", "float32") is torch.float32


@pytest.mark.parametrize(("setting", "dtype"), [("float32", torch.float32), ("bfloat16", torch.bfloat16), ("float16", torch.float16)])
def test_models_compute_in_the_type_of_the_settings(tmp_path: Path, setting: str, dtype: torch.dtype) -> None:
    assert loading.choose_dtype("cpu", setting) is dtype
    assert ModelPool(registry(tmp_path, model="smoke"), dtype=dtype).load("smoke").sampler.dtype is dtype


@pytest.mark.parametrize(("device", "cores", "items"), [("cpu", 1, 2), ("cpu", 2, 2), ("cpu", 8, 4), ("cpu", 64, 16), ("cuda:1", 2, 16)])
def test_fewer_items_are_computed_together_where_nobody_gains_by_it(device: str, cores: int, items: int) -> None:
    assert loading.batch_size(device, cores) == items


@pytest.mark.parametrize(("asked", "items"), [(0, loading.batch_size("cpu", physical_cores())), (1, 2), (40, 40)])
def test_the_service_computes_so_many_together_as_it_is_told_or_as_suits(monkeypatch: pytest.MonkeyPatch, asked: int, items: int) -> None:
    monkeypatch.setattr(service, "settings", Settings(device="cpu", max_batch_size=asked))
    assert service._batch_size() == items


def test_the_smoke_voice_is_the_same_everywhere() -> None:
    one = loading.seeded_transformer(dict(ARCHITECTURE), 10).state_dict()
    other = loading.seeded_transformer(dict(ARCHITECTURE), 10).state_dict()
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_the_real_package_can_be_imported_after_the_light_one() -> None:
    light = upstream.load().DiT
    from f5_tts.model import DiT

    assert light is DiT
