"""Evaluation: what is asked, of whom, how sure the answer is, and the report. No torch here."""
