"""What a picker offers: models, datasets, adapters, benchmarks, deployments; no terminal code."""
