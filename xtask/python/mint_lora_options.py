#!/usr/bin/env python3
"""Mints adapters of PEFT beyond linear layers: embeddings, tied heads, single tokens, biases. Deterministic, on the CPU.

    mint_lora_options.py --out tests/goldens [--only CASE ...]

OUT/gpt2_tiny/               HF folder: the GPT-2 of formula.py in float32, with the tokenizer of llama_tiny
OUT/lora_options/<case>/     a PEFT folder, expected.json (base, losses, ten losses of training, shapes of the tensors), and
                             expected.safetensors: logits_f64, logits_f32 and, where PEFT's own merge computes what its adapter does,
                             merged_f64

Texts, numbers, weights and steps are those of mint_causal.py; the tables of embeddings have the weights of linear layers (lora_embedding_A
those of A, lora_embedding_B those of B), saved biases and rows of tokens those of saved heads. `trace` are the losses before each of six
float64 steps of AdamW at 1e-3, from the adapter of the folder, on two sequences each in turn.

PEFT's merge of a model whose head is its table adds the change of one to both; its own logits are those of the change where it was made.
"""

import argparse
import os
import shutil
from contextlib import nullcontext
from pathlib import Path

import versions

versions.check()
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import transformers as hf
from peft import IA3Config, LNTuningConfig, LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file

import formula
import mint_goldens as goldens
from mint_causal import SEQUENCES, gradients, load, nll, numbers, save_adapter, tokenizer
from mint_goldens import write
from precision import Double, double

torch.set_num_threads(1)
hf.logging.set_verbosity_error()
hf.utils.logging.disable_progress_bar()


def causal():
    """case -> (model, arguments of the configuration, its class if not LoRA's)."""
    qv = dict(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"])
    targets = lambda *names, **more: dict(r=3, lora_alpha=6, target_modules=list(names), **more)
    return {
        "bias_lora_only": ("llama_tiny_tied", dict(qv, bias="lora_only")),
        "bias_all": ("llama_tiny_tied", dict(qv, bias="all")),
        "lora_bias": ("llama_tiny_tied", dict(qv, lora_bias=True)),
        "gpt2_c_attn": ("gpt2_tiny", targets("c_attn", fan_in_fan_out=True, bias="lora_only")),
        "gpt2_dora_all_linear": ("gpt2_tiny", dict(r=2, lora_alpha=3, target_modules="all-linear", fan_in_fan_out=True, use_dora=True)),
        "gpt2_tables": ("gpt2_tiny", targets("wte", "wpe", "c_proj")),
        "embed": ("llama_tiny", targets("embed_tokens", "q_proj")),
        "embed_head": ("llama_tiny", targets("embed_tokens", "lm_head", "v_proj", use_rslora=True)),
        "dora_embed": ("llama_tiny", targets("embed_tokens", "v_proj", use_dora=True)),
        "tokens": ("llama_tiny", dict(qv, trainable_token_indices=[7, 3, 30])),
        "tokens_head": ("llama_tiny", dict(qv, trainable_token_indices={"embed_tokens": [5, 9], "lm_head": [2, 12, 7]})),
        "tied_embed": ("llama_tiny_tied", targets("embed_tokens", "q_proj")),
        "tied_embed_ensured": ("llama_tiny_tied", targets("embed_tokens", "q_proj", ensure_weight_tying=True)),
        "tied_head": ("llama_tiny_tied", targets("lm_head", "q_proj")),
        "tied_embed_head": ("llama_tiny_tied", targets("embed_tokens", "lm_head", "q_proj")),
        "tied_tokens": ("llama_tiny_tied", dict(qv, trainable_token_indices=[7, 3, 30])),
        "tied_tokens_apart": ("llama_tiny_tied", dict(qv, trainable_token_indices={"embed_tokens": [5, 9], "lm_head": [2, 12, 7]})),
        "tied_saved_embed": ("llama_tiny_tied", dict(qv, modules_to_save=["embed_tokens"])),
        "tied_saved_both": ("llama_tiny_tied", dict(qv, modules_to_save=["embed_tokens", "lm_head"])),
        "ia3": ("llama_tiny", dict(target_modules=["k_proj", "v_proj", "down_proj"], feedforward_modules=["down_proj"]), IA3Config),
        "gpt2_ia3": ("gpt2_tiny", dict(target_modules=["c_attn", "mlp.c_proj"], feedforward_modules=["mlp.c_proj"]), IA3Config),
        "ln": ("llama_tiny_tied", dict(target_modules=["input_layernorm", "post_attention_layernorm", "norm"]), LNTuningConfig),
        "gpt2_ln": ("gpt2_tiny", dict(target_modules=["ln_1", "ln_2", "ln_f"]), LNTuningConfig),
    }


def fill(model):
    """Gives the trained parameters weights, by the formulas of mint_causal.py."""
    trained = dict(sorted((n, p) for n, p in model.named_parameters() if p.requires_grad))
    ends = (".ia3_l", ".ln_tuning_layers", ".lora_", ".modules_to_save", ".token_adapter", ".base_layer", ".bias")
    module = lambda name: min((name.split(end)[0] for end in ends), key=len)
    modules = sorted({module(n) for n in trained})
    with torch.no_grad():
        for name, p in trained.items():
            m = modules.index(module(name))
            i = torch.arange(p.numel(), dtype=torch.float64).view(p.shape)
            if p.dim() == 2:
                row, column = torch.arange(p.shape[0], dtype=torch.float64)[:, None], torch.arange(p.shape[1], dtype=torch.float64)
            if "lora_B" in name and name.endswith("bias"):
                p.copy_(0.1 * torch.cos(0.4 * i + m))
            elif "lora_A" in name or "lora_embedding_A" in name:
                p.copy_(0.05 * torch.sin(0.37 * row + 0.11 * column + 1 + m))
            elif "lora_B" in name or "lora_embedding_B" in name:
                p.copy_(0.2 * torch.cos(0.23 * row + 0.71 * column + m))
            elif "ia3_l" in name:
                p.copy_(1 + 0.3 * torch.sin(0.7 * i + m))
            elif "magnitude" in name:
                p.mul_(1 + 0.1 * torch.sin(0.7 * i + m))
            else:
                p.add_(0.05 * torch.sin(0.3 * i + m))


def trace(out, base, folder):
    """Losses before each of six steps."""
    model = PeftModel.from_pretrained(load(out, base), folder, is_trainable=True).eval()  # no dropout
    batches, losses = [[0, 1], [2, 3]], []
    with Double():
        double(model)
        trained = [p for p in model.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(trained, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0)
        for step in range(6):
            loss, _, _ = gradients(model, [SEQUENCES[i] for i in batches[step % 2]])
            losses.append(loss)
            optimizer.step()
    return losses


def mint_causal(out, case, base, arguments, config=LoraConfig):
    folder = out / "lora_options" / case
    model = get_peft_model(load(out, base), config(task_type="CAUSAL_LM", **arguments)).eval()
    fill(model)
    save_adapter(model, folder, base)
    expected, rows = {"base": base}, {}
    for tag in ("f64", "f32"):
        loaded = PeftModel.from_pretrained(load(out, base), folder).eval()
        with Double() if tag == "f64" else nullcontext():
            loaded = double(loaded) if tag == "f64" else loaded
            more, rows[f"logits_{tag}"] = numbers(loaded, tag)
            expected |= more
            if tag == "f64" and not (case == "lora_bias"):
                merged = numbers(loaded.merge_and_unload(), tag)[1]
    gap = (rows["logits_f64"] - rows["logits_f32"].double()).abs().max().item()
    assert gap < 5e-5, (case, gap)
    if case != "lora_bias":
        expected["merge_gap"] = (merged - rows["logits_f64"]).abs().max().item()
    expected["trace"] = trace(out, base, folder)
    tensors = load_file(folder / "adapter_model.safetensors")
    expected["tensors"] = {k: list(v.shape) for k, v in sorted(tensors.items())}
    save_file(rows, folder / "expected.safetensors")
    write(folder / "expected.json", expected)
    print(f"{case}: loss {expected['loss_f64']:.9f}, merge_gap {expected.get('merge_gap')}, {len(tensors)} tensors")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", nargs="+", help="these cases, on the model that is there")
    arguments = parser.parse_args()
    out, only = arguments.out, arguments.only
    if not only:
        shutil.rmtree(out / "gpt2_tiny", ignore_errors=True)
        formula.build("gpt2").save_pretrained(out / "gpt2_tiny")
        (out / "gpt2_tiny/generation_config.json").unlink(missing_ok=True)
        tokenizer(out / "gpt2_tiny")
    for case, (base, *how) in causal().items():
        if not only or case in only:
            mint_causal(out, case, base, *how)


if __name__ == "__main__":
    main()
