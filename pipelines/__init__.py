"""Computes: pixels, geometry, measurements, result objects."""
