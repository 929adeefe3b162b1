"""Prepare, record and run: from a YAML to a supervised run folder."""
