"""Fewer bits per weight: what each method needs, what it must leave, and whether it did."""
