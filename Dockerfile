# syntax=docker/dockerfile:1
# swiftbox in a container, installed by the same script as everywhere else.
#
#   docker build -t swiftbox --build-arg BACKEND=cuda .         cuda | rocm | npu | cpu
#   docker run -it --gpus all --ipc=host -v "$PWD":/workspace -v swiftbox-cache:/cache swiftbox
#   docker run -it ... swiftbox run my.yaml                     arguments go to the swiftbox command
#
# rocm needs SWIFTBOX_TORCH_INDEX (scripts/quickstart says which) and, when run, --device=/dev/kfd --device=/dev/dri
# --group-add video --ipc=host. npu needs, when run, --device=/dev/davinci0 (and on) --device=/dev/davinci_manager
# --device=/dev/devmm_svm --device=/dev/hisi_hdc -v /usr/local/Ascend/driver:/usr/local/Ascend/driver, and the group
# that owns those devices. On Linux x86_64 cpu and npu get a smaller image with SWIFTBOX_TORCH_INDEX.

ARG BACKEND=cuda
ARG CUDA_BASE=nvidia/cuda:13.0.3-devel-ubuntu24.04
ARG ROCM_BASE=rocm/pytorch:rocm7.2_ubuntu24.04_py3.12_pytorch_release_2.7.1
ARG NPU_BASE=quay.io/ascend/cann:9.1.0-910b-ubuntu22.04-py3.12
ARG CPU_BASE=python:3.11-slim

# Triton compiles a small launcher with Python's headers on first use.
FROM ${CUDA_BASE} AS cuda
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends python3 python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/*

FROM ${ROCM_BASE} AS rocm

FROM ${NPU_BASE} AS npu

FROM ${CPU_BASE} AS cpu

FROM ${BACKEND} AS swiftbox
ARG BACKEND
ARG SWIFTBOX_TORCH_INDEX=
USER root
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends ca-certificates git tmux \
    && rm -rf /var/lib/apt/lists/*
RUN useradd --create-home --shell /bin/bash swiftbox \
    && install -d -o swiftbox -g swiftbox /workspace /cache

# Only what the install reads is copied first, so that editing the code does not reinstall torch.
WORKDIR /opt/swiftbox
COPY pyproject.toml README.md LICENSE ./
COPY scripts/ scripts/
COPY swiftbox/__init__.py swiftbox/__init__.py
RUN --mount=type=cache,target=/root/.cache/pip bash scripts/quickstart --setup-only --backend "$BACKEND"
COPY configs/ configs/
COPY swiftbox/ swiftbox/
RUN .venv/bin/python -m compileall -q swiftbox

ENV PATH=/opt/swiftbox/.venv/bin:$PATH \
    HF_HOME=/cache/huggingface \
    MODELSCOPE_CACHE=/cache/modelscope \
    SWIFTBOX_HOME=/cache/swiftbox
USER swiftbox
WORKDIR /workspace
VOLUME ["/workspace", "/cache"]
ENTRYPOINT ["bash", "/opt/swiftbox/scripts/yichuidingyin.sh"]
