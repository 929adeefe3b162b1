"""Tools with conflicting pins, each in a separate environment; one explicit table."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from shlex import quote

from swiftbox.engines.engine import (
    CMAKE_ARGS,
    COMPILER,
    CXX_COMPILER,
    EVERYWHERE,
    PCRE2,
    PYTHON_HEADERS,
    Engine,
)

LLAMA_CPP_TARGETS = Path(__file__).with_name("llama_cpp.cmake")

TORCH = "2.13.0"
"""The same torch as swiftbox's, where a tool can use it: its wheel is in pip's cache."""


SERVING = ("fastapi==0.165.0", "uvicorn==0.54.0", "llguidance==1.9.1", "peft==0.21.2")
"""What the builtin server needs besides torch and transformers, in the versions of swiftbox: it
runs in the engines whose packages load the weights that they have quantized."""


def _with_torch(cpu: int) -> dict[str, int]:
    """Return a tool's disk space by backend, given that with a CPU torch: the rest is torch."""
    return {EVERYWHERE: cpu, "cuda": cpu + 6_000_000_000, "rocm": cpu + 13_000_000_000}


GPTQ = Engine(
    name="gptq",
    tools=("gptq", "measure", "serve"),
    about=("quantize with GPTQ or AWQ (gptqmodel)", "GPTQ、AWQ 量化（gptqmodel）"),
    capability="gptq_infer",
    torch=TORCH,
    requirements={
        EVERYWHERE: (
            "transformers==5.23.0",
            "datasets==5.2.0",
            "accelerate==1.15.0",
            "setuptools==82.0.1",
            "numpy==2.2.6",
            *SERVING,
        )
    },
    # Compiled against the packages of the first step; the small ones follow gptqmodel.
    late=(
        "gptqmodel==7.6.0",
        "optimum==2.3.0",
        "torchao==0.18.0",
        "pypcre==0.6.4",
        "tokenicer==0.0.14",
        "defuser==0.0.28",
        "device-smi==0.5.7",
        "logbar==0.4.15",
    ),
    python=(11, 13),  # of swiftbox itself, whose server it runs
    system=(COMPILER, PYTHON_HEADERS, PCRE2),
    # It uses half of the cores as workers, and a single worker waits for itself.
    env_on_few_cores={"GPTQMODEL_CPU_WORKERS": "2"},
    size_bytes=_with_torch(1_400_000_000),
    measured=("cpu",),
    selftest="""
import torch, optimum
from gptqmodel import BACKEND, GPTQModel, QuantizeConfig
QuantizeConfig(bits=4, group_size=32)
assert callable(GPTQModel.load) and float(torch.ones(2).sum()) == 2
""",
)

COMPRESS = Engine(
    name="compress",
    tools=("compress", "measure", "serve"),
    about=(
        "quantize to FP8 or W8A8 (llmcompressor)",
        "FP8、W8A8 量化（llmcompressor）",
    ),
    backends=("cuda", "rocm", "cpu"),
    python=(11, 14),
    torch=TORCH,
    requirements={
        EVERYWHERE: (
            "llmcompressor==0.14.0.1",
            "compressed-tensors==0.19.0",
            "transformers==5.17.0",
            "datasets==5.2.0",
            "accelerate==1.15.0",
            "auto-round==0.15.1",
            *SERVING,
        )
    },
    size_bytes=_with_torch(1_300_000_000),
    measured=("cpu",),
    minutes=4,
    selftest="""
import torch
from llmcompressor import oneshot
from llmcompressor.modifiers.quantization import QuantizationModifier
QuantizationModifier(targets="Linear", scheme="FP8_DYNAMIC", ignore=["lm_head"])
assert callable(oneshot) and float(torch.ones(2).sum()) == 2
""",
)

EVALSCOPE = Engine(
    name="evalscope",
    tools=("evalscope",),
    about=("evaluate on benchmarks by generated answers", "按生成的回答做基准评测"),
    requirements={
        EVERYWHERE: (
            "evalscope==1.14.1",
            "modelscope==1.40.2",
            "transformers==5.24.0",
            "datasets==4.8.4",
            "openai==3.57.0",
        )
    },
    size_bytes={EVERYWHERE: 860_000_000},
    measured=("cpu",),
    minutes=4,
    selftest="""
from evalscope import TaskConfig, run_task
TaskConfig(model="m", datasets=["ceval"], eval_type="openai_api", api_url="http://127.0.0.1:9/v1")
assert callable(run_task)
""",
)

LM_EVAL = Engine(
    name="lm_eval",
    tools=("lm_eval",),
    about=("evaluate small base models by likelihood", "按似然评测小型基座模型"),
    torch=TORCH,
    requirements={
        EVERYWHERE: (
            "lm_eval==0.4.13",
            "transformers==5.23.0",
            "peft==0.21.2",
            "accelerate==1.15.0",
            "datasets==5.2.0",
        )
    },
    size_bytes=_with_torch(1_500_000_000),
    measured=("cpu",),
    minutes=4,
    selftest="""
import lm_eval
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager
assert callable(lm_eval.simple_evaluate) and TaskManager and HFLM
""",
)

LLAMA_CPP = Engine(
    name="llama_cpp",
    tools=("gguf_quantize", "gguf_measure"),
    about=("write and serve GGUF files (llama.cpp)", "生成并部署 GGUF 文件（llama.cpp）"),
    requirements={
        EVERYWHERE: (
            "scikit-build-core==1.1.2",
            "cmake==4.4.5",
            "ninja==1.13.2",
            "numpy==2.2.6",
            "sentencepiece==0.2.3",
        )
    },
    late=("llama-cpp-python==0.3.36",),
    # pip's cache may hold the same release, built without the server and the converter.
    late_options=("--no-build-isolation", "--no-cache-dir"),
    build_env={
        CMAKE_ARGS: f"-DCMAKE_PROJECT_llama.cpp_INCLUDE={quote(str(LLAMA_CPP_TARGETS))}",
        "SKBUILD_BUILD_TARGETS": "llama-server",
    },
    system=(COMPILER, CXX_COMPILER),
    size_bytes={EVERYWHERE: 280_000_000},
    measured=("cpu",),
    minutes=15,
    selftest="""
import subprocess
from pathlib import Path
from shlex import quote
import llama_cpp, numpy, sentencepiece
package = Path(llama_cpp.__file__).parent
subprocess.run([package / "lib" / "llama-server", "--version"], check=True)
assert (package / "converter" / "convert_hf_to_gguf.py").is_file()
assert llama_cpp.llama_model_quantize_default_params().ftype >= 0
""",
)

VLLM = Engine(
    name="vllm",
    tools=("vllm_arguments",),
    about=("serve models fast on accelerators", "在加速卡上高速部署模型"),
    capability="serve_vllm",
    python=(10, 13),
    size_bytes={"cuda": 12_000_000_000, "npu": 8_000_000_000},
    selftest="""
import vllm
assert callable(vllm.LLM)
""",
)

LMDEPLOY = Engine(
    name="lmdeploy",
    about=("serve models with TurboMind", "用 TurboMind 部署模型"),
    capability="serve_lmdeploy",
    python=(10, 13),
    size_bytes={"cuda": 8_000_000_000},
    selftest="""
import lmdeploy
assert callable(lmdeploy.pipeline)
""",
)

SGLANG = Engine(
    name="sglang",
    about=("serve models with SGLang", "用 SGLang 部署模型"),
    capability="serve_sglang",
    python=(10, 13),
    size_bytes={"cuda": 12_000_000_000},
    selftest="""
import sglang
assert callable(sglang.Engine)
""",
)

ENGINES: Mapping[str, Engine] = {
    engine.name: engine
    for engine in (GPTQ, COMPRESS, EVALSCOPE, LM_EVAL, LLAMA_CPP, VLLM, LMDEPLOY, SGLANG)
}
