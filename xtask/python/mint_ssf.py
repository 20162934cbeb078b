#!/usr/bin/env python3
"""Mints the fixtures of SSF (scaling and shifting deep features, arXiv 2210.08823), with Hugging Face transformers. Deterministic, on the CPU.

    mint_ssf.py --out tests/goldens        (after mint_goldens.py and mint_lora_options.py, whose models it takes)

OUT/adapters/ssf_bert/         as mint_goldens.py has adapters: every linear layer but the head, and every norm
OUT/lora_options/gpt2_ssf/     as mint_lora_options.py has them
The files are ours, for PEFT has no such method: peft_type SSF, tensors <module>.ssf_scale and <module>.ssf_shift of a linear layer, and
<module>.weight.ssf_scale and .ssf_shift of a norm, each [out].

y -> y * scale + shift after each of these modules, by hooks; merged, a linear layer's weight is W * scale by outputs and its bias
b * scale + shift, and a norm's alike. Both are asserted to give the same logits.
"""

import argparse
import json
import shutil
from contextlib import nullcontext
from pathlib import Path

import versions

versions.check()

import torch
from safetensors.torch import save_file
from transformers.pytorch_utils import Conv1D

import mint_goldens as goldens
from mint_causal import SEQUENCES, load as load_causal, numbers, step_loss
from mint_goldens import write
from precision import Double, double

torch.set_num_threads(1)


def places(model, heads):
    """Modules by the names of their sites."""
    found = {}
    for name, module in model.named_modules():
        if isinstance(module, (torch.nn.Linear, Conv1D)) and name not in heads:
            found[name] = module
        elif isinstance(module, torch.nn.LayerNorm):
            found[f"{name}.weight"] = module
    return found


def outputs(module):
    return module.bias.numel()


def draw(model, heads):
    """Scales around 1 and shifts around 0, by a formula."""
    drawn = {}
    for m, (name, module) in enumerate(sorted(places(model, heads).items())):
        i = torch.arange(outputs(module), dtype=torch.float64)
        drawn[f"{name}.ssf_scale"] = (1 + 0.2 * torch.sin(0.7 * i + m)).float()
        drawn[f"{name}.ssf_shift"] = (0.1 * torch.cos(0.4 * i + m)).float()
    return drawn


def attach(model, heads, tensors):
    for name, module in places(model, heads).items():
        scale, shift = tensors[f"{name}.ssf_scale"], tensors[f"{name}.ssf_shift"]
        module.register_forward_hook(lambda _, inputs, y, scale=scale, shift=shift: y * scale + shift)


def merge(model, heads, tensors):
    with torch.no_grad():
        for name, module in places(model, heads).items():
            scale, shift = tensors[f"{name}.ssf_scale"], tensors[f"{name}.ssf_shift"]
            outermost = isinstance(module, torch.nn.Linear)
            module.weight.mul_(scale[:, None] if outermost else scale)
            module.bias.mul_(scale).add_(shift)


def folder(path, base, task, names, tensors, more):
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    config = {"base_model_name_or_path": base, "inference_mode": True, "norms": True, "peft_type": "SSF", "target_modules": names,
              "task_type": task}
    (path / "adapter_config.json").write_text(json.dumps(config | more, indent=2, sort_keys=True) + "\n")
    stored = {f"base_model.model.{k}": v.contiguous() for k, v in tensors.items()}
    save_file(stored, path / "adapter_model.safetensors", metadata={"format": "pt"})
    return {k: list(v.shape) for k, v in sorted(stored.items())}


def mint_bert(out):
    sets, heads = goldens.input_sets(), ["classifier"]
    known = json.loads((out / "cases.json").read_text())["models"]["bert"]["logits_f64"]
    drawn = draw(goldens.load(out, "bert", False), heads)
    expected = {"base": "models/bert", "inputs": "bert", "scaling": {}}
    head = {}
    for tag in ("f64", "f32"):
        tensors = {k: v.double() if tag == "f64" else v for k, v in drawn.items()}
        model = goldens.load(out, "bert", tag == "f64")
        head = {f"classifier.{k}": p.detach().float() for k, p in model.classifier.named_parameters()}
        attach(model, heads, tensors)
        expected[f"logits_{tag}"] = goldens.logits(model, sets["bert"])
        model = goldens.load(out, "bert", tag == "f64")
        merge(model, heads, tensors)
        expected[f"merged_logits_{tag}"] = goldens.logits(model, sets["bert"])
    gap = lambda a, b: (torch.tensor(a, dtype=torch.float64) - torch.tensor(b, dtype=torch.float64)).abs().max().item()
    moved, apart = gap(expected["logits_f64"], known), gap(expected["logits_f64"], expected["merged_logits_f64"])
    assert moved > 0.1 and apart < 1e-10, (moved, apart)
    names = sorted(k.removesuffix(".ssf_scale") for k in drawn if k.endswith("scale") and not k.endswith(".weight.ssf_scale"))
    expected["tensors"] = folder(out / "adapters/ssf_bert", "models/bert", "SEQ_CLS", names, drawn | head, {"modules_to_save": ["classifier"]})
    write(out / "adapters/ssf_bert/expected.json", expected)
    print(f"ssf_bert: logits move by {moved:.3f}, merged gap {apart:.1e}")


def mint_gpt2(out):
    base, heads, path = "gpt2_tiny", ["lm_head"], out / "lora_options/gpt2_ssf"
    drawn = draw(load_causal(out, base), heads)
    expected, rows = {"base": base}, {}
    for tag in ("f64", "f32"):
        model, merged = load_causal(out, base), load_causal(out, base)
        with Double() if tag == "f64" else nullcontext():
            if tag == "f64":
                model, merged = double(model), double(merged)
            tensors = {k: v.double() if tag == "f64" else v for k, v in drawn.items()}
            attach(model, heads, tensors)
            more, rows[f"logits_{tag}"] = numbers(model, tag)
            expected |= more
            merge(merged, heads, tensors)
            apart = (numbers(merged, tag)[1] - rows[f"logits_{tag}"]).abs().max().item()
            assert apart < (1e-11 if tag == "f64" else 2e-4), apart
            if tag == "f64":
                expected["merge_gap"] = apart
    expected["trace"] = trace(out, base, heads, drawn)
    names = sorted(k.removesuffix(".ssf_scale") for k in drawn if k.endswith("scale") and not k.endswith(".weight.ssf_scale"))
    expected["tensors"] = folder(path, base, "CAUSAL_LM", names, drawn, {})
    save_file(rows, path / "expected.safetensors")
    write(path / "expected.json", expected)
    print(f"gpt2_ssf: loss {expected['loss_f64']:.9f}, merged gap {expected['merge_gap']:.1e}")


def trace(out, base, heads, drawn):
    """Losses before each of six float64 steps of AdamW, as mint_lora_options.py has them."""
    model, batches, losses = load_causal(out, base), [[0, 1], [2, 3]], []
    with Double():
        double(model)
        model.requires_grad_(False)
        trained = {k: v.double().requires_grad_() for k, v in drawn.items()}
        attach(model, heads, trained)
        optimizer = torch.optim.AdamW(trained.values(), lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0)
        for step in range(6):
            optimizer.zero_grad()
            loss = step_loss(model, [SEQUENCES[i] for i in batches[step % 2]])
            loss.backward()
            losses.append(loss.item())
            optimizer.step()
    return losses


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    mint_bert(out)
    mint_gpt2(out)


if __name__ == "__main__":
    main()
