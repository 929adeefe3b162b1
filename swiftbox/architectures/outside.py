"""Model types that transformers cannot train on text, and the models to take in their place."""

from __future__ import annotations

from collections.abc import Mapping

from swiftbox.language import text

TEXT_MODEL = "Qwen/Qwen3-8B"
PICTURE_MODEL = "Qwen/Qwen3-VL-8B-Instruct"
SOUND_MODEL = "Qwen/Qwen2-Audio-7B-Instruct"

OUTSIDE: Mapping[str, str] = {
    "aquila": TEXT_MODEL,
    "baichuan": TEXT_MODEL,
    "baichuan_m1": TEXT_MODEL,
    "bailing_moe": TEXT_MODEL,
    "bluelm": TEXT_MODEL,
    "chatglm": "ZhipuAI/GLM-4-9B-0414",
    "cogvlm": PICTURE_MODEL,
    "deepseek": "deepseek-ai/DeepSeek-V2-Lite-Chat",
    "deepseek_vl_v2": PICTURE_MODEL,
    "GOT": "stepfun-ai/GOT-OCR-2.0-hf",
    "internlm": "Shanghai_AI_Laboratory/internlm3-8b-instruct",
    "internlm2": "Shanghai_AI_Laboratory/internlm3-8b-instruct",
    "internlmxcomposer2": PICTURE_MODEL,
    "internvl_chat": "OpenGVLab/InternVL3_5-8B-HF",
    "kimi_k2": "moonshotai/Moonlight-16B-A3B-Instruct",
    "kimi_vl": PICTURE_MODEL,
    "llava_llama": "llava-hf/llama3-llava-next-8b-hf",
    "llava_mistral": "llava-hf/llava-v1.6-mistral-7b-hf",
    "llava_qwen": "llava-hf/llava-onevision-qwen2-7b-ov-hf",
    "mimo": TEXT_MODEL,
    "minicpm": "OpenBMB/MiniCPM3-4B",
    "minicpmo": "OpenBMB/MiniCPM-V-4.6",
    "minicpmv": "OpenBMB/MiniCPM-V-4.6",
    "minimax_m1": "MiniMax/MiniMax-M2",
    "minimax_text_01": "MiniMax/MiniMax-M2",
    "mixformer-sequential": "AI-ModelScope/phi-2",
    "molmo": "allenai/Molmo2-8B",
    "mplugowl3": PICTURE_MODEL,
    "multi_modality": PICTURE_MODEL,
    "orion": TEXT_MODEL,
    "ovis": PICTURE_MODEL,
    "phi-msft": "AI-ModelScope/phi-2",
    "phi3_v": PICTURE_MODEL,
    "phi3small": "LLM-Research/Phi-3.5-mini-instruct",
    "phi4mm": "LLM-Research/Phi-4-mini-instruct",
    "qwen": "Qwen/Qwen2.5-7B-Instruct",
    "skywork": TEXT_MODEL,
    "telechat": TEXT_MODEL,
    "xverse": TEXT_MODEL,
    "yuan": TEXT_MODEL,
}
"""A model of the catalogue that transformers has a class for, by the type it has none for."""

WITHOUT_TEXT_ROWS: Mapping[str, str] = {
    "blip": PICTURE_MODEL,
    "blip-2": PICTURE_MODEL,
    "diffusion_gemma": TEXT_MODEL,
    "gemma4_assistant": TEXT_MODEL,
    "gemma4_unified_assistant": TEXT_MODEL,
    "instructblip": PICTURE_MODEL,
    "instructblipvideo": PICTURE_MODEL,
    "pi0": PICTURE_MODEL,
    "qwen2_5_omni": SOUND_MODEL,
    "qwen3_omni_moe": SOUND_MODEL,
}
"""The same for types whose class computes no loss of text alone."""


def native_hint(model_type: str) -> str:
    """Return what to take in place of a model type; empty for a type that no table has."""
    native = OUTSIDE.get(model_type) or WITHOUT_TEXT_ROWS.get(model_type)
    if native is None:
        return ""
    return text(
        f"take a model that transformers has a class for, such as {native}",
        f"请换用 transformers 有对应类的模型，如 {native}",
    )
