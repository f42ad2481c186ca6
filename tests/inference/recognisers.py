"""Writes tiny networks that listen, in the layout of the hub: a Whisper whose words are known, and wav2vec 2.0 with seeded weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

LANGUAGES = ("en", "de", "zh")
LETTERS = {"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3, "|": 4} | {letter: 5 + i for i, letter in enumerate("ABCDEFGHIJKLMNOPQRSTUVWXYZ'")}


def _tokens() -> list[str]:
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    special = ["<|endoftext|>", "<|startoftranscript|>", *(f"<|{code}|>" for code in LANGUAGES)]
    special += ["<|translate|>", "<|transcribe|>", "<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>"]
    return [*bytes_to_unicode().values(), *special, *(f"<|{i * 0.02:.2f}|>" for i in range(1501))]


def save_whisper(folder: Path, says: str | None = "hello world", *, detects: str = "de") -> Path:
    """A tiny Whisper.

    Args:
        says: ASCII that it hears in each window of any sound, whatever the sound; None: what its seeded weights make of the sound.
        detects: the language that it takes every sound for.
    """
    from transformers import GenerationConfig, WhisperConfig, WhisperFeatureExtractor, WhisperForConditionalGeneration, WhisperTokenizer

    tokens = _tokens()
    index = {token: i for i, token in enumerate(tokens)}
    end = index["<|endoftext|>"]
    ordinary = tokens[:end]
    tokenizer = WhisperTokenizer(vocab={token: i for i, token in enumerate(ordinary)} | {"<|endoftext|>": end}, merges=[])
    tokenizer.add_special_tokens({"additional_special_tokens": tokens[end + 1 : index["<|notimestamps|>"] + 1]})
    tokenizer.add_tokens(tokens[index["<|notimestamps|>"] + 1 :])
    assert [tokenizer.convert_tokens_to_ids(token) for token in ("a", "<|en|>", "<|0.00|>")] == [index["a"], index["<|en|>"], end + 11]
    config = WhisperConfig(
        vocab_size=len(tokens), num_mel_bins=80, d_model=32, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=32, decoder_ffn_dim=32, max_source_positions=1500, max_target_positions=448,
        pad_token_id=end, bos_token_id=end, eos_token_id=end, decoder_start_token_id=end + 1,
    )  # fmt: skip
    torch.manual_seed(7)
    model = WhisperForConditionalGeneration(config)
    with torch.no_grad():
        if says is None:
            for parameter in model.parameters():
                parameter.mul_(8.0)
        else:
            _fix(model.model.decoder, [index[f"<|{detects}|>"], 0, 0, *(index[c] for c in says.replace(" ", "\u0120")), end])
    model.generation_config = GenerationConfig(
        decoder_start_token_id=end + 1, eos_token_id=end, pad_token_id=end, bos_token_id=end, is_multilingual=True, max_length=448,
        no_timestamps_token_id=index["<|notimestamps|>"], lang_to_id={f"<|{code}|>": index[f"<|{code}|>"] for code in LANGUAGES},
        task_to_id={"transcribe": index["<|transcribe|>"], "translate": index["<|translate|>"]},
    )  # fmt: skip
    if says is None:
        model.generation_config.suppress_tokens = [i for i in range(len(tokens)) if not (tokens[i].isalpha() and tokens[i].isascii())]
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=80).save_pretrained(folder)
    return folder


def _fix(decoder: Any, following: list[int]) -> None:
    """Have the decoder say a fixed sequence: its layers add nothing, and the position alone decides the next token."""
    layer = decoder.layers[0]
    for part in (layer.self_attn.out_proj, layer.encoder_attn.out_proj, layer.fc2):
        part.weight.zero_()
        part.bias.zero_()
    tokens, positions = decoder.embed_tokens.weight, decoder.embed_positions.weight
    tokens.normal_()
    positions.zero_()
    for place, token in enumerate(following):
        positions[place] = 20 * tokens[token]


def save_aligner(folder: Path, *, letters: dict[str, int] | None = None) -> Path:
    """A tiny wav2vec 2.0 with a letter vocabulary; its letters depend on the sound by seeded weights."""
    from transformers import Wav2Vec2Config, Wav2Vec2FeatureExtractor, Wav2Vec2ForCTC

    letters = letters or LETTERS
    config = Wav2Vec2Config(
        vocab_size=len(letters), hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, conv_dim=(16,) * 7,
        num_conv_pos_embeddings=16, num_conv_pos_embedding_groups=2, pad_token_id=0,
    )  # fmt: skip
    torch.manual_seed(3)
    Wav2Vec2ForCTC(config).save_pretrained(folder)
    (folder / "vocab.json").write_text(json.dumps(letters))
    Wav2Vec2FeatureExtractor().save_pretrained(folder)
    return folder
