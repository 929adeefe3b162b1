"""Which class loads a model, decided from its config.json without importing torch."""
