"""Which kinds of jobs wait for the same slots: a lane. None of the lanes holds up another."""

from __future__ import annotations

SPEECH, VOICE, QUALITY, TRAINING, WEBHOOK, MAIL = "speech", "voice", "quality", "training", "webhook", "mail"
OTHER = "other"

LANES: dict[str, tuple[str, ...]] = {
    SPEECH: ("synthesis", "preview"),
    VOICE: ("sample_processing", "clone_build", "training_removal"),
    # Nobody waits for it, and where the speech service is busy it takes as long as a job that somebody does wait for.
    QUALITY: ("clone_quality",),
    TRAINING: ("training",),
    WEBHOOK: ("webhook_delivery",),
    MAIL: ("mail",),
}


def slots_of(speech: int, webhook: int = 1) -> dict[str, int]:
    """How many jobs of each lane one process does at once, where nothing else is asked for."""
    return {SPEECH: speech, VOICE: 1, QUALITY: 1, TRAINING: 1, WEBHOOK: webhook, MAIL: 1}


def lane_of(kind: str) -> str:
    """The lane of a kind of jobs; ``other`` for a kind that this version does not know."""
    return next((lane for lane, kinds in LANES.items() if kind in kinds), OTHER)
