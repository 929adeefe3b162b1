"""What serves, chats with and evaluates the result of a quantization: said before it begins."""

from __future__ import annotations

from swiftbox.architectures.served_limits import uncached_error
from swiftbox.config.quantize import QuantizeConfig
from swiftbox.language import text
from swiftbox.models.inspection import Inspection
from swiftbox.models.requirements import NOTE, WARNING, Remark
from swiftbox.models.trial_loading import uncached_by_builtin
from swiftbox.models.vllm_formats import KNOWN_SINCE, vllm_format_fault
from swiftbox.quantization.verification import QUANT_METHODS
from swiftbox.serving.openers import opener_for

TOPIC = "result"

OLDEST_JUDGED = ".".join(map(str, KNOWN_SINCE))
"""The version of vLLM by which the result is judged; engines install this one or a newer one."""


def result_remark(config: QuantizeConfig, inspection: Inspection | None) -> Remark:
    """Return which programs open the result on this machine; a warning if none of ours does.

    `inspection` is that of the model, None while it is not on this machine.
    """
    if config.method == "gguf":
        message = text(
            "the result is served, talked to and evaluated here by llama.cpp (engine llama_cpp)",
            "量化结果可在本机由 llama.cpp（引擎 llama_cpp）部署、对话与评测",
        )
        return Remark(NOTE, TOPIC, message)
    if inspection is not None and (kinds := uncached_by_builtin(inspection)):
        return _for_vllm_only(uncached_error(kinds).message)
    stored = {
        "quant_method": QUANT_METHODS[config.method],
        "bits": config.bits,
        "group_size": config.group_size,
    }
    settings = {"quantization_config": stored}
    engine = opener_for(settings).engine
    place = text(f" in the engine {engine}", f"（在引擎 {engine} 中运行）") if engine else ""
    message = text(
        f"the result is served, talked to and evaluated here by the builtin server{place}",
        f"量化结果可在本机由内置服务{place}部署、对话与评测",
    )
    if not vllm_format_fault(settings, OLDEST_JUDGED):
        message += text(
            "; on a GPU that vLLM supports, by vLLM too", "；在 vLLM 支持的 GPU 上也可用 vLLM"
        )
    return Remark(NOTE, TOPIC, message)


def _for_vllm_only(reason: str) -> Remark:
    message = text(
        f"the builtin server will not serve the result: {reason}",
        f"内置服务将无法部署量化结果：{reason}",
    )
    hint = text(
        "serve it with engine: vllm on a GPU that vLLM supports",
        "请在 vLLM 支持的 GPU 上以 engine: vllm 部署",
    )
    return Remark(WARNING, TOPIC, message, hint)
