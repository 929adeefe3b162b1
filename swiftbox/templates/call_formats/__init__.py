"""The call formats of model families, and how answers are read in them."""
