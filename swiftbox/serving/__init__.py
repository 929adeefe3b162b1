"""The OpenAI-compatible server of `task: deploy`, and the command that starts vLLM instead."""
