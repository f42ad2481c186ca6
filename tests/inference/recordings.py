"""Recordings whose words are known to the sample, made of tones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

RATE = 24_000
SYLLABLES = ["ba", "ne", "tor", "li", "sun", "ka", "mi", "gre", "do", "vel", "in", "ar", "stra", "o", "e", "lu", "pen"]


@dataclass(frozen=True)
class Recording:
    """Tone bursts that stand for words. ``ends``: of each word, its end in the text, and the silence behind it in seconds."""

    samples: np.ndarray
    text: str
    ends: list[tuple[int, float, float]]


def recording(seed: int, *, seconds: float = 14.0, hesitation: float = 0.05, jitter: float = 0.15) -> Recording:
    """Sentences at a rate that wanders by ``jitter``; people pause after most marks, and now and then where there is none."""
    rng = np.random.default_rng(seed)
    rate = rng.uniform(10, 20)
    text, parts, at, ends = "", [np.zeros(int(rng.uniform(0, 0.4) * RATE))], 0.0, []
    at = len(parts[0]) / RATE
    while at < seconds or len(ends) < 4:
        count, pace = int(rng.integers(2, 16)), rate * np.exp(rng.normal(0, jitter))
        for place in range(count):
            word = "".join(rng.choice(SYLLABLES) for _ in range(int(rng.integers(1, 4))))
            last = place == count - 1
            t = np.arange(int(max(0.08, (len(word) + 0.7) / pace * np.exp(rng.normal(0, 0.2)) + 0.08 * last) * RATE)) / RATE
            swell = np.minimum(1, np.minimum(t, t[::-1]) / 0.015) * (0.7 + 0.3 * np.abs(np.sin(2 * np.pi * rng.uniform(2, 4) * t)))
            parts.append(0.2 * swell * np.sin(2 * np.pi * rng.uniform(100, 250) * t))
            mark = str(rng.choice([".", "!", "?"])) if last else "," if rng.random() < 0.12 else ""
            longest, chance = (0.9, 0.95) if last else (0.5, 0.6) if mark else (0.6, hesitation)
            pause = rng.uniform(0.15, longest) if rng.random() < chance else rng.uniform(0, 0.04)
            text += (word if place else word.capitalize()) + mark
            at += len(t) / RATE
            ends.append((len(text), at, at + pause))
            text += " "
            parts.append(np.zeros(int(pause * RATE)))
            at += pause
    sound = np.concatenate(parts)
    noise = 10 ** rng.uniform(-4.5, -2.8) * rng.standard_normal(len(sound))
    return Recording((sound + noise).astype(np.float32), text.strip(), ends)


def offset(of: Recording) -> float:
    """Seconds that trimming takes from the beginning."""
    from audio.activity import active_spans

    return max(0, active_spans(of.samples, RATE)[0][0] - int(0.1 * RATE)) / RATE
