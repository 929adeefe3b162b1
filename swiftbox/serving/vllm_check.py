"""What vLLM's own parser says about `vllm_args`, asked before anything is loaded."""

from __future__ import annotations

from pathlib import Path

from swiftbox.config.deploy import DeployConfig
from swiftbox.devices.backends import BACKENDS
from swiftbox.engines.state import interpreter_path, site_packages
from swiftbox.engines.tool_runner import TOOLS
from swiftbox.engines.vllm import vllm_folder
from swiftbox.errors import ConfigError, MachineError
from swiftbox.language import text
from swiftbox.models.requirements import NOTE, WARNING, Remark
from swiftbox.runs.asked_child import ChildQuestion
from swiftbox.security.printable import printable
from swiftbox.serving.vllm import VllmTarget, command

SCRIPT = TOOLS / "vllm_arguments.py"


def vllm_remark(config: DeployConfig) -> Remark | None:
    """Return a remark on arguments that nobody has checked; raise ConfigError for refused ones."""
    if not config.vllm_args:
        return None
    try:
        folder = vllm_folder()
    except MachineError:
        return Remark(NOTE, "code", _checked_later())
    arguments = command(config, VllmTarget((), Path(config.model or ""), "model", {}, (), 1))
    answer = ChildQuestion(
        "",
        arguments,
        "vllm_arguments",
        [str(folder), _versions(folder), arguments],
        purpose=text("asking vLLM about vllm_args", "正在向 vLLM 核对 vllm_args"),
        program=(str(interpreter_path(folder)), "-I", str(SCRIPT)),
        variables=BACKENDS["cpu"].vllm_env,  # the child sees no device
    ).answer()
    if not answer:
        return Remark(WARNING, "code", _not_checked())
    if problem := printable(str(answer.get("problem"))):
        raise ConfigError(
            text(f"vllm_args: vLLM refuses them: {problem}", f"vllm_args：vLLM 拒绝：{problem}"),
            hint=text(
                "`vllm serve --help=all` in its environment lists all arguments",
                "在其环境中执行 `vllm serve --help=all` 可列出全部参数",
            ),
        )
    return None


def _versions(folder: Path) -> list[str]:
    packages = site_packages(folder)
    return sorted(path.name for path in packages.glob("vllm*.dist-info")) if packages else []


def _checked_later() -> str:
    return text(
        "vllm_args: checked by vLLM's own parser once it is installed",
        "vllm_args：安装 vLLM 后由其自身的解析器核对",
    )


def _not_checked() -> str:
    return text(
        "vllm_args: not checked: vLLM's parser did not answer; the start will tell",
        "vllm_args：未核对：vLLM 的解析器没有应答；启动时会知道结果",
    )
