"""Objects that are no images of planes: segmentations, maps, dose, structures, waveforms."""
