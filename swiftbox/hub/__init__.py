"""Downloads from a hub: the only package that opens network connections for models and data."""
