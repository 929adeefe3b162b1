"""Will it fit: memory, disk and time, from config.json or the catalogue alone; pure, no torch."""
