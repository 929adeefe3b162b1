"""Writing with a model: many sequences at once, each as if it were alone."""
