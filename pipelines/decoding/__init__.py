"""From the bytes of a file to the stored values of its frames."""
