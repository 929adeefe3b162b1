"""Scripts that the Python of an engine runs: each stands alone and imports nothing of swiftbox."""
