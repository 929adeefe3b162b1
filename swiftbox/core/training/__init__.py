"""The training session: trainer, checkpoints, optimizers, sharding."""
