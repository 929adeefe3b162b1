"""Tuners: they choose which weights of a model are trained; one small file each."""
