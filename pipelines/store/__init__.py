"""Arrays in Zarr v3: their layout, where they lie, what is trusted of them."""
