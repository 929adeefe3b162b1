"""What a person sees of a run: the live board, previews, and one file per task."""
