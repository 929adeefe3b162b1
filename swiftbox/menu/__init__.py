"""The terminal menu, made from the config fields."""
