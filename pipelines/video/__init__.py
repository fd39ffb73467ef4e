"""Videos: found, indexed and decoded frame by frame, in child processes."""
