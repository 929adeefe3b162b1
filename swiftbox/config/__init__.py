"""What a YAML can say."""
