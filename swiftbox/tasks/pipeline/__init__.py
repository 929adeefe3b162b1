"""task: pipeline, a task that runs other tasks as steps."""
