#!/usr/bin/env python3
"""Mints LoRA adapters in llama.cpp's form, by its own convert_lora_to_gguf.py from adapters of PEFT. Deterministic.

    cargo xtask mint llama_cpp -- --out tests/goldens --llama-cpp DIR

DIR is llama.cpp's source tree as in llama_cpp_python-0.3.36 (`vendor/llama.cpp`), with its gguf-py; beside requirements.txt it needs the
packages pyyaml and tqdm.

OUT/llama_cpp/<model>/  config.json of a row of formula.py, a PEFT folder on all linear modules whose weights are those of mint_causal.py,
                        and adapter.gguf, what llama.cpp's script makes of it in float32

GPT-2 is not among them: the script transposes its factors, because the model's own matrices are [in, out], and llama.cpp then refuses
the file for its shapes; check_llama_cpp.py holds our file against PEFT instead. The script does not read use_rslora and alpha_pattern.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import versions

versions.check()

from peft import LoraConfig, get_peft_model

import formula
from mint_causal import fill, save_adapter

MODELS = ["llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3_text", "phi3", "gpt_neox", "granite", "smollm3"]


def targets(model):
    """Names of the linear modules in blocks."""
    names = {n.rsplit(".", 1)[1] for n, m in model.named_modules() if hasattr(m, "weight") and m.weight.dim() == 2 and any(p.isdigit() for p in n.split("."))}
    return sorted(names)


def mint(out, name, llama_cpp):
    folder = out / "llama_cpp" / name
    folder.mkdir(parents=True)
    base = formula.build(name)
    arguments = dict(r=3, lora_alpha=6, target_modules=targets(base))
    model = get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", **arguments)).eval()
    fill(model)
    save_adapter(model, folder / "peft", name)
    with tempfile.TemporaryDirectory() as temporary:
        base.config.architectures = [formula.rows()[name][0].__name__]
        base.config.save_pretrained(temporary)
        shutil.copy(Path(temporary) / "config.json", folder / "config.json")
        command = [sys.executable, llama_cpp / "convert_lora_to_gguf.py", "--base", temporary, "--outtype", "f32", "--outfile",
                   folder / "adapter.gguf", folder / "peft"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    print(f"{name}: {(folder / 'adapter.gguf').stat().st_size} bytes")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--llama-cpp", type=Path, required=True)
    args = parser.parse_args()
    shutil.rmtree(args.out / "llama_cpp", ignore_errors=True)
    for name in MODELS:
        mint(args.out, name, args.llama_cpp)


if __name__ == "__main__":
    main()
