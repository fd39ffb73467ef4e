"""What the planes and frames of a series are, and along which axes they lie."""
