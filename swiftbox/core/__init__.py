"""How it is done: torch at the top of the files, local paths only."""
