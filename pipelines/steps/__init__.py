"""Functions on volumes: `DataArray` in, `DataArray` or measurements out, keyword-only parameters."""
