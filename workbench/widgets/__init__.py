"""Widgets: what a notebook shows to be looked at and touched."""
