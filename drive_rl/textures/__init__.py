"""Road textures: procedural generators, banks of tiles, and what learns to make more."""
