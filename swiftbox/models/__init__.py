"""What a folder is, without network: catalogue, weights, adapters, requirements."""
