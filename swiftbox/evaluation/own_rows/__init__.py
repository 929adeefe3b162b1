"""The user's own rows in an evaluation: loss, answers, scores and verdicts."""
