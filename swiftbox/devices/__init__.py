"""Where it runs: one row per backend, and a machine as data."""
