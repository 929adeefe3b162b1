"""Encoded rows: from examples to batches."""
