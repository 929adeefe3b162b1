"""What protects the user: paths from outside text, children, secrets, private files, screens."""
