"""The embedded starter: a small model made, trained and tried on this machine, without network."""
