"""Attention within the rows of joined lines."""
