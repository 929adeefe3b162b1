"""What runs inside another program's server; its folder is on that program's search path."""
