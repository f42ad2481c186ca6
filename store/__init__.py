"""The only rooms that know where data lives: rows, objects and vectors."""
