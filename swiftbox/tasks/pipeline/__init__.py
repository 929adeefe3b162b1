"""task: pipeline, the task made of tasks."""
