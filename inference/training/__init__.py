"""Training: the corpus, the loop, and what becomes of a voice. Nothing that serves requests imports this; processes of its own run it."""
