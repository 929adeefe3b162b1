"""Fetching models and datasets."""
