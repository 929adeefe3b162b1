"""Training data: examples are encoded to rows of tokens, rows are collated to batches."""
