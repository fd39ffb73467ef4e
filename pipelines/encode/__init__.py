"""Result objects as conformant DICOM datasets, written with highdicom."""
