#!/usr/bin/env python3
"""Mints the fixtures of Mamba with Hugging Face transformers. Deterministic, on the CPU, its path without kernels.

    mint_ssm.py --out tests/goldens

OUT/mamba_tiny/                HF folder (float32): 2 layers, width 16, 32 channels, 4 states, step rank 2, convolution of 4, vocabulary 32
OUT/ssm/cases.json             sequences with their losses, and the losses of three adapters together
OUT/ssm/mamba_tiny.safetensors logits_f64, logits_f32 and, of every parameter, gradient_f64.<name>
OUT/ssm/decode.safetensors     float64, of the last sequence: per layer the states after `prefix` tokens and after each of `steps` further
                               ones, layers.<i>.conv [1 + steps, 32, 4] (the last four inputs of the convolution, oldest first) and
                               layers.<i>.ssm [1 + steps, 32, 4]; logits [steps, 32] of the single steps
OUT/ssm/adapters.safetensors   float32: per layer <path>.A_log.places [12, 2] (channel, state) and .values [12], added to A_log there;
                               <path>.dt_proj.bias [32], added to the bias; <path>.out_proj.lora_A [2, 32], .lora_B [16, 2], LoRA of
                               scale `scale`; <path> is backbone.layers.<i>.mixer
OUT/ssm/adapted.safetensors    logits_f64, logits_f32 with all three, and gradient_f64.<name> of each of them; the merged model is
                               asserted to give the same
OUT/ssm/trace.json             ten float64 steps of AdamW on all three: A_log's values, the bias and B start at zero, A at adapters.safetensors's
OUT/ssm/trace.safetensors      logits_f64 after the last step, and the trained tensors under the names of adapters.safetensors

Numbers: as mint_causal.py has them; every token but a sequence's first is a target; logits are [tokens of all sequences, 32]. The forward
pass written out in mamba.py from the equations (Mamba, arXiv 2312.00752, Algorithm 2) is asserted to give transformers' logits. transformers
reads dt_proj's weight as a matrix, so that an adapter on that module would have no effect on it; its bias is read too. PEFT refuses LoRA
on out_proj; it is a hook here.
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
from safetensors.torch import load_file, save_file

from mamba import LAYERS, SCALE, SEQUENCES, adapt, config, draw_adapters, fill, hooks, load, logits, losses, nll, path, written_out
from mint_goldens import write
from precision import Double, double

torch.set_num_threads(1)
hf.logging.set_verbosity_error()
hf.utils.logging.disable_progress_bar()

PREFIX, STEPS = 5, 4
ADDED = "A_log.values", "dt_proj.bias", "out_proj.lora_A", "out_proj.lora_B"


def gap(a, b, most):
    found = (a - b).abs().max().item()
    assert found < most, found
    return found


def mint_model(out):
    shutil.rmtree(out / "mamba_tiny", ignore_errors=True)
    model = hf.MambaForCausalLM(config())
    fill(model)
    model.save_pretrained(out / "mamba_tiny")
    (out / "mamba_tiny/generation_config.json").unlink(missing_ok=True)
    entry, tensors = {}, {}
    for tag in ("f64", "f32"):
        model = load(out)
        with Double() if tag == "f64" else nullcontext():
            model = double(model) if tag == "f64" else model
            rows = logits(model)
            state = {n: p.detach() for n, p in model.named_parameters()}
            apart = gap(rows, written_out(state), 1e-12 if tag == "f64" else 2e-5)
            if tag == "f64":
                torch.cat(nll(rows)).mean().backward()
                tensors |= {f"gradient_f64.{n}": p.grad for n, p in model.named_parameters()}
                ids = torch.tensor(SEQUENCES[:1])
                assert abs(model(ids, labels=ids, use_cache=False).loss.item() - nll(rows)[0].mean().item()) < 1e-12
        tensors[f"logits_{tag}"] = rows.detach()
        entry |= losses(rows, tag)
    assert all(t.abs().max() > 1e-6 for t in tensors.values())
    save_file(tensors, out / "ssm/mamba_tiny.safetensors")
    print(f"mamba_tiny: loss {entry['loss_f64']:.9f}, {apart:.1e} beside the equations in float32")
    return entry


def mint_decode(out):
    """The states as transformers' cache holds them, and the logits of single steps beside the whole sequence's."""
    ids, tensors, rows = torch.tensor(SEQUENCES[-1:]), {}, []
    model = load(out)
    with Double(), torch.no_grad():
        double(model)
        whole = model(ids, use_cache=False).logits[0]
        output = model(ids[:, :PREFIX], use_cache=True)
        for step in range(STEPS + 1):
            if step:
                output = model(ids[:, PREFIX + step - 1 : PREFIX + step], cache=cache, use_cache=True)
                rows.append(output.logits[0, -1])
            cache = output.cache
            for layer in range(LAYERS):
                for name, value in ("conv", cache.get_conv_state(layer, state_idx=0)), ("ssm", cache.get_recurrent_state(layer, state_idx=0)):
                    tensors.setdefault(f"layers.{layer}.{name}", []).append(value[0].clone())
    tensors = {k: torch.stack(v) for k, v in tensors.items()}
    tensors["logits"] = torch.stack(rows)
    apart = gap(tensors["logits"], whole[PREFIX:], 1e-12)
    save_file(tensors, out / "ssm/decode.safetensors")
    print(f"decode: {apart:.1e} beside the whole sequence;", {k: list(v.shape) for k, v in tensors.items()})


def mint_adapters(out):
    adapters = draw_adapters()
    save_file(adapters, out / "ssm/adapters.safetensors")
    base = load_file(out / "ssm/mamba_tiny.safetensors")
    entry, tensors = {"scale": SCALE}, {}
    for tag in ("f64", "f32"):
        model = load(out)
        exact = tag == "f64"
        with Double() if exact else nullcontext():
            model = double(model) if exact else model
            ours = {k: v.clone() if k.endswith("places") else v.double() if exact else v.clone() for k, v in adapters.items()}
            ours = {k: v.requires_grad_(not k.endswith("places")) for k, v in ours.items()}
            state = adapt({n: p.detach() for n, p in model.named_parameters()}, ours)
            hooks(model, ours)
            rows = logits(model, state)
            gap(rows, written_out(state, ours), 1e-12 if exact else 2e-5)
            if exact:
                torch.cat(nll(rows)).mean().backward()
                tensors |= {f"gradient_f64.{k}": v.grad for k, v in ours.items() if k.endswith(ADDED)}
            merged = {k: v.detach() for k, v in state.items()}
            for layer in range(LAYERS):
                a, b = (ours[f"{path(layer)}.out_proj.lora_{x}"].detach() for x in "AB")
                merged[f"{path(layer)}.out_proj.weight"] = merged[f"{path(layer)}.out_proj.weight"] + SCALE * b @ a
        fresh = load(out)
        with Double() if exact else nullcontext(), torch.no_grad():
            fresh = double(fresh) if exact else fresh
            fresh.load_state_dict(merged, strict=False)
            apart = gap(rows.detach(), logits(fresh), 1e-12 if exact else 2e-5)
        tensors[f"logits_{tag}"] = rows.detach()
        entry |= losses(rows, tag)
        moved = (rows - base[f"logits_{tag}"]).abs().max().item()
        assert moved > 0.1
        print(f"adapters {tag}: loss {entry[f'loss_{tag}']:.9f}, logits move by {moved:.3f}, merged gap {apart:.1e}")
    assert all(t.abs().max() > 1e-6 for t in tensors.values())
    save_file(tensors, out / "ssm/adapted.safetensors")
    return entry


def mint_trace(out):
    steps, rates = 10, {"A_log.values": 5e-2, "dt_proj.bias": 2e-2, "out_proj.lora_A": 1e-2, "out_proj.lora_B": 1e-2}
    model, adapters, found, norms = load(out), load_file(out / "ssm/adapters.safetensors"), [], []
    with Double():
        double(model)
        frozen = {n: p.detach() for n, p in model.named_parameters()}
        for k, v in adapters.items():
            if not k.endswith("places"):
                adapters[k] = (v if k.endswith("lora_A") else torch.zeros_like(v)).double().requires_grad_()
        hooks(model, adapters)
        groups = [{"params": [v for k, v in adapters.items() if k.endswith(name)], "lr": rate} for name, rate in rates.items()]
        optimizer = torch.optim.AdamW(groups, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0)
        for _ in range(steps):
            optimizer.zero_grad()
            loss = torch.cat(nll(logits(model, adapt(frozen, adapters)))).mean()
            loss.backward()
            found.append(loss.item())
            norms.append(torch.cat([v.grad.flatten() for v in adapters.values() if v.requires_grad]).norm().item())
            optimizer.step()
        rows = logits(model, adapt(frozen, adapters)).detach()
    assert found[-1] < found[0] - 0.1, found
    save_file({"logits_f64": rows} | {k: v.detach() for k, v in adapters.items()}, out / "ssm/trace.safetensors")
    write(out / "ssm/trace.json", {
        "dtype": "float64", "steps": steps, "scale": SCALE, "batch": "all sequences of cases.json in each step",
        "loss_kind": "cross entropy, mean over the targets",
        "optimizer": {"name": "AdamW", "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.0, "learning_rate": rates},
        "schedule": "constant", "clip": None, "losses": found, "grad_norms": norms, "final_loss_f64": losses(rows, "f64")["loss_f64"]})
    print(f"trace: {' '.join(f'{x:.6f}' for x in found)}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    shutil.rmtree(out / "ssm", ignore_errors=True)
    (out / "ssm").mkdir(parents=True)
    base = mint_model(out)
    mint_decode(out)
    adapted = mint_adapters(out)
    write(out / "ssm/cases.json", {"made_with": versions.installed(), "sequences": SEQUENCES, "prefix": PREFIX, "steps": STEPS,
                                   "mamba_tiny": base, "adapted": adapted})
    mint_trace(out)


if __name__ == "__main__":
    main()
