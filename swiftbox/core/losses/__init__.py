"""What is computed from a batch: log-probabilities, losses, scores."""
