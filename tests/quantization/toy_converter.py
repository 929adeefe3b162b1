"""A converter of a few lines with the command line of llama.cpp's; the name decides what it does.

It is copied into a toy engine as convert_hf_to_gguf.py.
"""

from __future__ import annotations

import argparse
import json
import struct
from pathlib import Path

import numpy as np
from gguf import MODEL_ARCH, GGUFWriter, get_tensor_name_map


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path)
    parser.add_argument("--outtype")
    parser.add_argument("--outfile", type=Path)
    parser.add_argument("--vocab-only", action="store_true")
    options = parser.parse_args()
    if (options.model / "odd-tokenizer").exists():
        raise NotImplementedError("BPE pre-tokenizer was not recognized")
    if (options.model / "odd-class").exists():
        import logging

        logging.getLogger("hf-to-gguf").error("Model OddForCausalLM is not supported")
        raise SystemExit(1)
    write(options.model, options.outfile)


def write(model: Path, output: Path) -> None:
    with (model / "model.safetensors").open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        headers = json.loads(file.read(length))
    config = json.loads((model / "config.json").read_text("utf-8"))
    layers = config["num_hidden_layers"]
    table = get_tensor_name_map(MODEL_ARCH.QWEN3, layers)
    writer = GGUFWriter(output, "qwen3")
    writer.add_block_count(layers)
    template = model / "chat_template.jinja"
    if template.exists():
        writer.add_string("tokenizer.chat_template", template.read_text("utf-8"))
    for name, header in headers.items():
        if name != "__metadata__":
            target = table.get_name(name, try_suffixes=(".weight", ".bias"))
            writer.add_tensor(target, np.zeros(header["shape"], dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main()
