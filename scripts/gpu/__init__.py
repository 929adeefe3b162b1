"""The parts of `scripts/bench gpu`: one file each, one process each."""
