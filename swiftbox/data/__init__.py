"""What a dataset file can say: readers, row formats, the whole-file check."""
