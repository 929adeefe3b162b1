"""The engine of a deployment, and what it must have for the settings."""

from __future__ import annotations

from swiftbox.config.deploy import DeployConfig
from swiftbox.devices import choices
from swiftbox.devices.backends import BACKENDS, ENGINES
from swiftbox.devices.machine import Machine
from swiftbox.engines.state import engine_named
from swiftbox.errors import ConfigError, MachineError
from swiftbox.language import text


def choose_engine(config: DeployConfig, machine: Machine) -> choices.Choice:
    """Choose vLLM if it is installed and fully supported on this backend."""
    if config.engine == "builtin":
        return choices.Choice("builtin", text("as requested", "按要求"))
    cell = BACKENDS[machine.backend].cell(ENGINES["vllm"])
    unsupported = choices.lacks(machine, ENGINES["vllm"])
    installed = "vllm" in machine.versions
    if config.engine == "vllm":
        why = unsupported or ("" if installed else engine_named("vllm").refusal(machine.backend))
        if why:
            raise MachineError(
                f"engine: vllm: {why}", hint=text("set engine: auto", "设 engine: auto")
            )
        return choices.Choice("vllm", text("as requested", "按要求"))
    if unsupported or cell.supported != "yes":
        return choices.Choice("builtin", f"vllm: {unsupported or cell.reason()}")
    if not installed:
        why = text(
            "vllm is not installed (`swiftbox engines install vllm`, or engine: vllm)",
            "未安装 vllm（`swiftbox engines install vllm`，或设 engine: vllm）",
        )
        return choices.Choice("builtin", why)
    return choices.Choice("vllm", f"vllm {machine.versions['vllm']}")


def require_devices(config: DeployConfig, engine: str, machine: Machine) -> None:
    """Raise MachineError for more devices than the engine or the machine has."""
    size = config.tensor_parallel_size
    if size > 1 and engine == "builtin":
        raise MachineError(
            text(
                f"tensor_parallel_size: {size}: the builtin server uses one device",
                f"tensor_parallel_size：{size}：内置服务只使用一个设备",
            ),
            hint=text("set tensor_parallel_size: 1", "设 tensor_parallel_size: 1"),
        )
    if size > max(1, len(machine.devices)):
        raise MachineError(
            text(
                f"tensor_parallel_size: {size}, but there are {len(machine.devices)} devices",
                f"tensor_parallel_size：{size}，但只有 {len(machine.devices)} 个设备",
            ),
            hint=text("set it to at most the number of devices", "请设为不超过设备数的值"),
        )


def require_builtin(config: DeployConfig, engine: str) -> None:
    """Raise ConfigError for a setting that only the builtin server has."""
    if config.tools_in_prompt and engine != "builtin":
        raise ConfigError(
            text(
                f"tools_in_prompt: only the builtin server has it, and engine is {engine}",
                f"tools_in_prompt：仅内置服务支持，而当前 engine 为 {engine}",
            ),
            hint=text("set engine: builtin", "设 engine: builtin"),
        )
