"""Chat templates: what they render, what they can do, and which text is learned."""
