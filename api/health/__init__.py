"""Whether the tier lives, is ready, and what it counts."""
