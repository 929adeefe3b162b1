"""The run folder, its events, the stop request, and the process that supervises a run."""
