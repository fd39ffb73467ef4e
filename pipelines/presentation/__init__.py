"""What a screen shows of an array: windows, palettes, colour, overlays."""
