"""Whether a task fits and how long it takes, from config.json or the catalogue; without torch."""
