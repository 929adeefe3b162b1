"""Tuners: what of a model is trained; one small file each."""
