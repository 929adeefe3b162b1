"""The chat at a terminal: lines in, answers as they come, one side or two beside each other."""
