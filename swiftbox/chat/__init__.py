"""The chat at a terminal: lines in, answers out as they arrive, of one model or of two."""
