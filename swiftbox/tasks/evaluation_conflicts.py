"""Settings of an evaluation that exclude each other, or make no sense alone."""

from __future__ import annotations

from swiftbox.config.evaluate import EvaluateConfig
from swiftbox.errors import ConfigError
from swiftbox.language import text


def require_one_source(config: EvaluateConfig) -> None:
    """Raise ConfigError for conflicting settings."""
    weights = [key for key in ("model", "adapter", "compare") if getattr(config, key)]
    if config.endpoint is not None and weights:
        raise ConfigError(
            text(
                f"endpoint: scores the models of that server, but {', '.join(weights)} is set too",
                f"endpoint：评测该服务上的模型，但同时设了 {', '.join(weights)}",
            ),
            hint=text("remove one of them", "请去掉其中之一"),
        )
    if config.endpoint is not None and config.backend == "lm_eval":
        raise ConfigError(
            text("backend: lm_eval needs the weights", "backend: lm_eval 需要模型权重"),
            hint=text("set model: instead of endpoint:", "请设 model: 而不是 endpoint:"),
        )
    if config.chat_template_kwargs and config.backend == "lm_eval":
        raise ConfigError(
            text(
                "chat_template_kwargs: backend: lm_eval uses no chat template",
                "chat_template_kwargs：backend: lm_eval 不使用对话模板",
            ),
            hint=text(
                "remove chat_template_kwargs, or set backend: evalscope",
                "请去掉 chat_template_kwargs，或设 backend: evalscope",
            ),
        )
    _require_servers(config)


def _require_servers(config: EvaluateConfig) -> None:
    """Raise ConfigError for a key without its server, and for half a judge."""
    for key, server in (("api_key_env", "endpoint"), ("judge_key_env", "judge_endpoint")):
        if getattr(config, key) is not None and getattr(config, server) is None:
            raise ConfigError(
                text(
                    f"{key}: is the key of {server}, which is not set",
                    f"{key}：是 {server} 的密钥，但未设 {server}",
                ),
                hint=text(f"remove {key}, or set {server}", f"请去掉 {key}，或设置 {server}"),
            )
    if (config.judge_endpoint is None) != (config.judge_model is None):
        raise ConfigError(
            text(
                "judge_endpoint and judge_model must be set together",
                "judge_endpoint 与 judge_model 须同时设置",
            ),
            hint=text("set both, or neither", "请同时设置，或都不设"),
        )
