"""Tools whose pins fight ours, each pinned in an environment of its own; one explicit table."""
