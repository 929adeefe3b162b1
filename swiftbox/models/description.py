"""How a row of the catalogue is described to people: its kind, its modalities, its details."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from swiftbox.devices.packages import version_of
from swiftbox.formatting import count, size
from swiftbox.language import language, text
from swiftbox.models import catalogue
from swiftbox.models.catalogue import Model
from swiftbox.models.requirements import requirement_remarks

CHINESE: Mapping[str, str] = {
    # kinds and stages of models
    "chat": "对话",
    "base": "基座",
    "instruct": "指令微调",
    "reasoning": "推理",
    "coder": "代码",
    "math": "数学",
    "reward": "奖励",
    "embedding": "嵌入",
    "reranker": "重排",
    "rerank": "重排",
    "classifier": "分类",
    "encoder": "编码器",
    # modalities
    "text": "文本",
    "image": "图像",
    "video": "视频",
    "audio": "音频",
    "omni": "全模态",
    # what datasets and benchmarks are about
    "multimodal": "多模态",
    "general": "通用",
    "pretrain": "预训练",
    "sft": "指令微调",
    "qa": "问答",
    "vqa": "图像问答",
    "multi-round": "多轮",
    "multiturn": "多轮",
    "cot": "思维链",
    "agent": "智能体",
    "multi-agent": "多智能体",
    "code": "代码",
    "coding": "代码",
    "text-generation": "文本生成",
    "medical": "医疗",
    "multilingual": "多语言",
    "classification": "分类",
    "caption": "图像描述",
    "imagecaptioning": "图像描述",
    "long-sequence": "长文本",
    "long-context": "长文本",
    "longcontext": "长文本",
    "law": "法律",
    "grounding": "定位",
    "distill": "蒸馏",
    "science": "科学",
    "character-dialogue": "角色对话",
    "role-play": "角色扮演",
    "preference": "偏好",
    "novel": "小说",
    "multilabel": "多标签",
    "ner": "实体识别",
    "safety": "安全",
    "self-cognition": "自我认知",
    "financial": "金融",
    "zhihu": "知乎",
    "zh": "中文",
    "en": "英文",
    "multi": "多语言",
    "chinese": "中文",
    "knowledge": "知识",
    "mcq": "选择题",
    "visual-mcq": "图像选择题",
    "video-mcq": "视频选择题",
    "yes-no": "是非题",
    "yes/no": "是非题",
    "pairwise": "成对比较",
    "audio-qa": "音频问答",
    "function-calling": "函数调用",
    "functioncalling": "函数调用",
    "instruction-following": "指令遵循",
    "instructionfollowing": "指令遵循",
    "retrieval": "检索",
    "asr": "语音识别",
    "speechrecognition": "语音识别",
    "tts": "语音合成",
    "texttospeech": "语音合成",
    "text-to-image": "文生图",
    "texttoimage": "文生图",
    "image-edit": "图像编辑",
    "imageediting": "图像编辑",
    "translation": "翻译",
    "machinetranslation": "翻译",
    "commonsense": "常识",
    "readingcomprehension": "阅读理解",
    "arena": "对战",
    "hallucination": "幻觉",
    "custom": "自定义",
}
"""The usual Chinese of the catalogue's words; words without one (dpo, sql, ocr) stay."""


def term(word: str) -> str:
    """Return a word of the catalogue in the current language."""
    return text(word, CHINESE.get(word.lower(), word))


def terms(vocabulary: Collection[str]) -> str:
    """Return words of the catalogue in the current language, each once."""
    return text(", ", "、").join(dict.fromkeys(map(term, vocabulary)))


def searchable(*vocabulary: str) -> str:
    """Return words of the catalogue with their Chinese, in lower case: what a search looks at."""
    return " ".join([*vocabulary, *(CHINESE.get(word.lower(), "") for word in vocabulary)]).lower()


def in_english(query: str) -> str:
    """Return a query with the Chinese kinds and modalities as the catalogue calls them."""
    english = {chinese: word for word, chinese in reversed(list(CHINESE.items()))}
    return " ".join(english.get(word, word) for word in query.split())


def modalities(model: Model) -> str:
    """Return what a model reads in at most seven cells: `text`, `img+vid`, `图+视`."""
    names = model.modality.split("+")
    if language() == "zh":
        return term(names[0]) if len(names) == 1 else "+".join(term(name)[0] for name in names)
    if len(names) == 1:
        return names[0]
    letters = 3 if len(names) == 2 else 1
    return "+".join({"image": "img"}.get(name, name)[:letters] for name in names)


def kind_of(model: Model) -> str:
    """Return the kind of a model; a star marks one that brings Python code."""
    return term(model.kind) + ("" if model.native == "yes" else "*")


def transformers_bounds(model: Model) -> str:
    """Return the versions of transformers that a model is published for."""
    return " ".join(filter(None, (model.transformers_spec, model.max_transformers)))


def summary(model: Model) -> str:
    """Return what a list leaves out of a model, on one line."""
    bounds, active = transformers_bounds(model), _billions(model.active_params_b)
    parts = (
        model.model_type,
        term(model.stage or model.kind),
        text("needs remote code", "需要自带代码") if model.native != "yes" else "",
        model.quant if model.quant != "none" else "",
        text(f"context {model.context:,}", f"上下文 {model.context:,}") if model.context else "",
        text(f"active {active}", f"激活 {active}") if active else "",
        f"transformers {bounds}" if bounds else "",
        f"HF {model.hf_id}" if model.hf_id and model.hf_id != model.id else "",
    )
    return " · ".join(part for part in parts if part)


LOADING: Mapping[str, tuple[str, str]] = {
    "yes": ("with transformers alone", "transformers 内置"),
    "remote-code": ("with its own code (trust_remote_code)", "需自带代码（trust_remote_code）"),
    "no": ("not with transformers", "transformers 无法加载"),
}
"""What each value of the catalogue's `native` means."""


def details(model: Model, fit: str | None) -> list[str]:
    """Return all that is known of a model, a line each; `fit` is what trains on the machine."""
    lines = {**_identity(model), **_needs(model), text("trains here with", "本机可训练"): fit}
    known = [text(f"{key}: {value}", f"{key}：{value}") for key, value in lines.items() if value]
    return [*known, *map(str, requirement_remarks(model))]


def _tokens(number: int | None) -> str | None:
    return text(f"{number:,} tokens", f"{number:,} 个 token") if number else None


def _billions(parameters_b: float | None) -> str | None:
    return count(parameters_b * 1e9) if parameters_b else None


def _identity(model: Model) -> dict[str, str | None]:
    return {
        text("model", "模型"): model.name,
        "Hugging Face": model.hf_id,
        text("family", "系列"): text(
            f"{model.family} ({model.model_type}, {model.architecture})",
            f"{model.family}（{model.model_type}，{model.architecture}）",
        ),
        text("parameters", "参数量"): _billions(model.params_b),
        text("active", "激活"): _billions(model.active_params_b),
        text("reads", "模态"): terms(model.modality.split("+")),
        text("kind", "类型"): terms([model.kind, *([model.stage] if model.stage else [])]),
        text("format", "格式"): text("16 bits", "16 位") if model.quant == "none" else model.quant,
        text("disk", "磁盘"): size(model.disk_bytes) if model.disk_bytes else None,
        text("context", "上下文"): _tokens(model.context),
    }


def _needs(model: Model) -> dict[str, str | None]:
    targets = catalogue.lora_targets(model.model_type)
    layers = [*targets.get("attention", ()), *targets.get("mlp", ())]
    version = version_of("transformers")
    return {
        text("loads", "加载"): text(*LOADING[model.native]) if model.native else None,
        "transformers": text(
            f"{transformers_bounds(model) or '-'} (installed: {version})",
            f"{transformers_bounds(model) or '-'}（已安装 {version}）",
        ),
        text("packages", "依赖包"): " ".join(model.extra_requires),
        text("LoRA layers", "LoRA 层"): ", ".join(layers),
    }
