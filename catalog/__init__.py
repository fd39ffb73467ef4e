"""Knows: what exists in the archive, where it is, and what was decided about it."""
