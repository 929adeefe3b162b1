"""The command line: verbs, their parsers, and the only place that prints a UserError."""
