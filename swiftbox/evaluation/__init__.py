"""Evaluation: benchmarks, candidates, jobs, confidence intervals and the report. No torch here."""
