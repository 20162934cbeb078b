#!/usr/bin/env python3
"""Loads adapters that `peft convert --to gguf` wrote with llama.cpp and compares its logits with HF PEFT's.

    check_llama_cpp.py --peft target/debug/peft --source llama_cpp_python-0.3.36 --libraries BUILD/bin

SOURCE is the source package of llama-cpp-python, with llama.cpp in vendor/; LIBRARIES is where llama.cpp was built as shared libraries
(cmake -B BUILD -DBUILD_SHARED_LIBS=ON SOURCE/vendor/llama.cpp). Beside requirements.txt it needs pyyaml and tqdm.

Of every model of formula.py that llama.cpp has: the model as a GGUF file by llama.cpp's own conversion, an adapter of PEFT on all linear
modules, with ranks and alphas of their own for some of them, converted by us, and the logits of one sequence. Exits with 1 if they differ
by more than 1e-5, 5e-3 for the Gemmas, GPT-2 and GPT-NeoX, whose GELU llama.cpp takes from a table in half precision, or if the adapter moves
them by less than 0.005. Gemma 3 is left out: llama.cpp's conversion of it asks for a tokenizer.
"""

import argparse
import ctypes
import json
import logging
import os
import subprocess
import sys
import tempfile
import types
from pathlib import Path

import versions

versions.check()

import torch
from peft import LoraConfig, get_peft_model

import formula
from mint_causal import fill, save_adapter
from mint_llama_cpp import targets

MODELS = ["llama", "llama_tied", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "phi3", "gpt2", "gpt_neox", "granite", "smollm3"]
# What llama.cpp has otherwise, and what its conversion reads that transformers does not write any more.
OWN = {"mistral": dict(sliding_window=None), "smollm3": dict(no_rope_layers=[1, 1]), "gpt2": dict(n_ctx=64),
       "gpt_neox": dict(rotary_pct=0.5), "gemma2": dict(query_pre_attn_scalar=8, sliding_window=64)}


def to_gguf(name, folder, path):
    """The model by llama.cpp's conversion, without a vocabulary."""
    from conversion import ModelBase, ModelType, get_model_architecture, get_model_class
    import gguf

    parameters = ModelBase.load_hparams(folder, False) | OWN.get(name, {})
    cls = get_model_class(get_model_architecture(parameters, ModelType.TEXT))

    class Bare(cls):
        model_arch = cls.model_arch

        def set_vocab(self):
            self._set_vocab_none()

        def set_gguf_parameters(self):
            super().set_gguf_parameters()
            if f"{self.gguf_writer.arch}.vocab_size" not in self.gguf_writer.kv_data[0]:
                self.gguf_writer.add_vocab_size(self.hparams["vocab_size"])

    with torch.inference_mode():
        Bare(folder, gguf.LlamaFileType.ALL_F32, path, hparams=parameters, eager=True).write()


def logits(llama, model_path, adapter_path, ids, vocabulary):
    """One row a token."""
    parameters = llama.llama_model_default_params()
    parameters.use_mmap = False
    model = llama.llama_model_load_from_file(str(model_path).encode(), parameters)
    assert model, model_path
    settings = llama.llama_context_default_params()
    settings.n_ctx = settings.n_batch = settings.n_ubatch = 64
    settings.n_threads = settings.n_threads_batch = 1
    settings.type_k = settings.type_v = 0
    settings.flash_attn_type = 0
    context = llama.llama_init_from_model(model, settings)
    if adapter_path:
        adapter = llama.llama_adapter_lora_init(model, str(adapter_path).encode())
        assert adapter, f"llama.cpp refuses {adapter_path}"
        one = (llama.llama_adapter_lora_p_ctypes * 1)(adapter)
        assert llama.llama_set_adapters_lora(context, one, 1, (ctypes.c_float * 1)(1.0)) == 0
    batch = llama.llama_batch_init(len(ids), 0, 1)
    batch.n_tokens = len(ids)
    for place, token in enumerate(ids):
        batch.token[place], batch.pos[place], batch.n_seq_id[place] = token, place, 1
        batch.seq_id[place][0], batch.logits[place] = 0, 1
    assert llama.llama_decode(context, batch) == 0
    rows = [[llama.llama_get_logits_ith(context, place)[i] for i in range(vocabulary)] for place in range(len(ids))]
    llama.llama_free(context)
    llama.llama_model_free(model)
    return torch.tensor(rows)


def check(name, temporary, program, llama):
    base = formula.build(name)
    base.config.architectures = [type(base).__name__]
    base.save_pretrained(temporary / "base")
    config = temporary / "base/config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | OWN.get(name, {})))
    base = type(base).from_pretrained(temporary / "base", dtype=torch.float32, attn_implementation="eager").eval()
    names = targets(base)
    own = dict(rank_pattern={names[0]: 2}, alpha_pattern={names[-1]: 9})
    model = get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", r=3, lora_alpha=6, target_modules=names, **own)).eval()
    fill(model)
    save_adapter(model, temporary / "adapter", name)
    to_gguf(name, temporary / "base", temporary / "base.gguf")
    command = [program, "convert", "--to", "gguf", "--model", temporary / "base", "--adapter", temporary / "adapter", "--output", temporary / "out"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with torch.no_grad():
        wanted = model(torch.tensor([formula.IDS]), use_cache=False).logits[0]
    size = wanted.shape[1]
    plain = logits(llama, temporary / "base.gguf", None, formula.IDS, size)
    found = logits(llama, temporary / "base.gguf", temporary / "out/adapter.gguf", formula.IDS, size)
    gap, moved = (found - wanted).abs().max().item(), (found - plain).abs().max().item()
    print(f"{name:12} differs from PEFT by {gap:.1e}, moves the logits by {moved:.3f}", flush=True)
    return gap < (5e-3 if name in ("gemma", "gemma2", "gpt2", "gpt_neox") else 1e-5) and moved > 0.005


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for flag in ["--peft", "--source", "--libraries"]:
        parser.add_argument(flag, type=Path, required=True)
    parser.add_argument("models", nargs="*", default=MODELS)
    args = parser.parse_args()
    logging.disable(logging.CRITICAL)
    sys.path[:0] = [str(args.source / "vendor/llama.cpp"), str(args.source / "vendor/llama.cpp/gguf-py")]
    os.environ["LLAMA_CPP_LIB_PATH"] = str(args.libraries.resolve())
    # The bindings' package itself asks for more than its declarations need.
    package = types.ModuleType("llama_cpp")
    package.__path__ = [str(args.source / "llama_cpp")]
    sys.modules["llama_cpp"] = package
    from llama_cpp import llama_cpp as llama

    quiet = llama.llama_log_callback(lambda *_: None)
    llama.llama_log_set(quiet, None)
    llama.llama_backend_init()
    good = True
    for name in args.models:
        with tempfile.TemporaryDirectory() as temporary:
            good &= check(name, Path(temporary), args.peft.resolve(), llama)
    sys.exit(not good)


if __name__ == "__main__":
    main()
