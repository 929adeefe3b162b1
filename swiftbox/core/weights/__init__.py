"""Weights: load, merge, quantize, compare."""
