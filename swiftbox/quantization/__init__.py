"""task: quantize. What each method needs, how it runs, and how its result is verified."""
