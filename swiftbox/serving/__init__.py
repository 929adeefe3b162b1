"""The OpenAI-compatible server of `task: deploy`, and the command of vLLM's in its place."""
