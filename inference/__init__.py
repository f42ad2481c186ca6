"""The inference tier: text to chunks and chunks to sound. The only rooms that import torch, f5_tts and bentoml."""
