"""Datasets: file readers, row formats, and the check of all rows."""
