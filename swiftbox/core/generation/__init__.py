"""Generate text with a model: many sequences together, each as if it were alone."""
