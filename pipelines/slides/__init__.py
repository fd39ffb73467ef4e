"""Whole-slide images: levels, tiles, and which frame is which tile."""
