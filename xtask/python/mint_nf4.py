#!/usr/bin/env python3
"""Mints a tiny Llama in NF4, as transformers saves it with bitsandbytes, on the CPU. Deterministic.

    mint_nf4.py --out tests/goldens

OUT/llama_nf4/          single quantisation: a folder of save_pretrained, and expected.json
OUT/llama_nf4_nested/   the same with double quantisation

The weights are those of formula.py's llama, but wide enough for whole blocks, in float32. expected.json has the loss of formula.IDS,
the last row's logits, and the losses of six steps of AdamW on LoRA: all of the float32 model whose linear weights are what
bitsandbytes dequantises. A[k, i] = 0.05 sin(0.37 k + 0.11 i + 1 + m), B = 0, m counting the adapted modules in byte order.
"""

import argparse
import shutil
from pathlib import Path

import versions

versions.check("requirements-nf4.txt")

import bitsandbytes.functional as bnb
import torch
import transformers as hf
from peft import LoraConfig, get_peft_model

import formula
from mint_goldens import write

torch.set_num_threads(1)
hf.logging.set_verbosity_error()
hf.utils.logging.disable_progress_bar()
WIDE = dict(formula.UNTIED, **formula.EPS, hidden_size=64, intermediate_size=128)
STEPS, RATE = 6, 1e-2


def plain():
    model = hf.LlamaForCausalLM(hf.LlamaConfig(**WIDE))
    named = sorted(model.named_parameters())
    with torch.no_grad():
        for k, (_, parameter) in enumerate(named):
            parameter.copy_(formula.value("", tuple(parameter.shape), k, False).to(torch.float32))
    return model


def loss(model):
    ids = torch.tensor([formula.IDS])
    return model(input_ids=ids, labels=ids, use_cache=False)


def mint(out, nested):
    folder = out / ("llama_nf4_nested" if nested else "llama_nf4")
    shutil.rmtree(folder, ignore_errors=True)
    source = out / "nf4_source"
    plain().save_pretrained(source)
    config = hf.BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=nested,
                                   bnb_4bit_compute_dtype=torch.float32)
    quantised = hf.AutoModelForCausalLM.from_pretrained(source, quantization_config=config, dtype=torch.float32, device_map="cpu")
    quantised.save_pretrained(folder)
    model = plain()
    with torch.no_grad():
        coded = 0
        for name, parameter in quantised.named_parameters():
            if hasattr(parameter, "quant_state"):
                model.get_parameter(name).copy_(bnb.dequantize_4bit(parameter.data, parameter.quant_state))
                coded += 1
        assert coded == 14, coded
        first = loss(model)
    model = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"]))
    modules = sorted(n for n, p in model.named_parameters() if "lora_A" in n)
    with torch.no_grad():
        for m, name in enumerate(modules):
            a = model.get_parameter(name)
            k, i = torch.meshgrid(*(torch.arange(d, dtype=torch.float64) for d in a.shape), indexing="ij")
            a.copy_((0.05 * torch.sin(0.37 * k + 0.11 * i + 1 + m)).to(torch.float32))
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=RATE, weight_decay=0.0)
    losses = []
    for _ in range(STEPS):
        value = loss(model).loss
        losses.append(value.item())
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    write(folder / "expected.json", {
        "ids": formula.IDS, "loss": first.loss.item(), "logits": first.logits[0, -1].tolist(), "rate": RATE, "losses": losses,
    })
    shutil.rmtree(source)
    print(folder.name, f"{first.loss.item():.6f}", " ".join(f"{x:.6f}" for x in losses))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    for nested in (False, True):
        mint(out, nested)


if __name__ == "__main__":
    main()
