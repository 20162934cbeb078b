#!/usr/bin/env python3
"""Mints the fixtures of bottleneck modules in transformer blocks, with Hugging Face transformers. Deterministic, on the CPU.

    mint_additive.py --out tests/goldens        (after mint_goldens.py and mint_causal.py, whose models it takes)

OUT/additive/cases.json            per case: base, places, sizes, activation, scale, its loss
OUT/additive/<case>.safetensors    float32: <place>.<i>.down.weight [size, d], .down.bias, .up.weight [d, size], .up.bias of layer i;
                                   float64 and float32: logits_f64, logits_f32, and gradient_f64.<name> of each, for BERT also of
                                   classifier.weight and classifier.bias

With A(h) = scale (W_up f(W_down h + b_down) + b_up), F the feed-forward part's output before its residual, x what goes into that part
(its residual), Z the attention part's output before its residual, LN the layer norm that follows it in BERT:

    BERT   pfeiffer, pfeiffer_small   out = LN(A(LN(F + x)) + F + x), one LN twice      (Pfeiffer et al., arXiv 2005.00247)
           houlsby                    x = LN(A(Z) + Z + in), out = LN(A'(F) + F + x)    (Houlsby et al., arXiv 1902.00751)
           parallel                   out = LN(F + A(x) + x)                            (He et al., arXiv 2110.04366)
    Llama  serial, serial_small       out = x + F + A(F)
           serial_sum                 out = x + F + A(x + F): what AdapterHub makes of the Pfeiffer placement where no norm follows
           parallel_llama             out = x + F + A(n), n what the feed-forward part reads, behind the norm
    both   joint, joint_llama         AutoPEFT's (arXiv 2301.12132): out = LN(S(LN(F + x)) + F + P(x) + x) and out = x + F + S(F) + P(n), of a
                                      serial module S without scale and a parallel one P

Rows and sequences are those of cases.json (set "bert", labels 0 2 1 0 1) and causal/cases.json; the loss is the mean cross entropy over
rows, or over targets. Weights are drawn as N(0, 0.3^2), biases as N(0, 0.1^2). check_adapterhub.py compares with AdapterHub's library.
"""

import argparse
import json
import os
import shutil
from contextlib import nullcontext
from pathlib import Path

import versions

versions.check()
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import torch
import transformers as hf
from safetensors.torch import load_file, save_file

from mint_causal import SEQUENCES, logits, step_loss
from mint_goldens import forward, generator, input_sets, write
from precision import Double, double

torch.set_num_threads(1)
hf.logging.set_verbosity_error()
hf.utils.logging.disable_progress_bar()

LABELS = [0, 2, 1, 0, 1]
CASES = {
    "pfeiffer": dict(base="models/bert", places={"feed_forward": 8}, activation="relu", scale=1.0),
    "pfeiffer_small": dict(base="models/bert", places={"feed_forward": 3}, activation="relu", scale=1.0),
    "houlsby": dict(base="models/bert", places={"attention": 4, "feed_forward": 6}, activation="silu", scale=1.0),
    "parallel": dict(base="models/bert", places={"feed_forward": 16}, activation="relu", scale=4.0),
    "serial": dict(base="llama_tiny", places={"feed_forward": 4}, activation="relu", scale=1.0),
    "serial_small": dict(base="llama_tiny", places={"feed_forward": 2}, activation="silu", scale=0.5),
    "parallel_llama": dict(base="llama_tiny", places={"feed_forward": 6}, activation="relu", scale=4.0),
    "joint": dict(base="models/bert", places={"serial": 8, "parallel": 5}, activation="relu", scale=4.0),
    "joint_llama": dict(base="llama_tiny", places={"serial": 3, "parallel": 2}, activation="silu", scale=4.0),
    "serial_sum": dict(base="llama_tiny", places={"feed_forward": 4}, activation="relu", scale=1.0),
}


def draw(case, width):
    rng, tensors = generator(f"additive/{case}"), {}
    for place, size in sorted(CASES[case]["places"].items()):
        for layer in range(2):
            for name, shape in ("down", (size, width)), ("up", (width, size)):
                weight, bias = rng.standard_normal(shape), rng.standard_normal(shape[0])
                tensors[f"{place}.{layer}.{name}.weight"] = torch.from_numpy((0.3 * weight).astype(np.float32))
                tensors[f"{place}.{layer}.{name}.bias"] = torch.from_numpy((0.1 * bias).astype(np.float32))
    return tensors


def module(case, tensors, place, layer):
    activation = {"relu": torch.relu, "silu": torch.nn.functional.silu}[CASES[case]["activation"]]
    down, up = ([tensors[f"{place}.{layer}.{name}.{part}"] for part in ("weight", "bias")] for name in ("down", "up"))
    scale = 1.0 if place == "serial" else CASES[case]["scale"]
    return lambda h: scale * torch.nn.functional.linear(activation(torch.nn.functional.linear(h, *down)), *up)


def insert(model, case, tensors):
    """Puts the case's modules in place of what the blocks do around their residuals."""
    if CASES[case]["base"] == "llama_tiny":
        for i, block in enumerate(model.model.layers):
            if case == "joint_llama":
                s, p = (module(case, tensors, place, i) for place in ("serial", "parallel"))
                block.mlp.register_forward_hook(lambda _, inputs, f, s=s, p=p: f + s(f) + p(inputs[0]))
                continue
            a = module(case, tensors, "feed_forward", i)
            # The residual is what the norm before the feed-forward part reads.
            kept = []
            block.post_attention_layernorm.register_forward_pre_hook(lambda _, inputs, kept=kept: kept.append(inputs[0]))
            if case == "serial_sum":
                block.mlp.register_forward_hook(lambda _, inputs, f, a=a, kept=kept: f + a(kept.pop() + f))
            elif case == "parallel_llama":
                block.mlp.register_forward_hook(lambda _, inputs, f, a=a: f + a(inputs[0]))
            else:
                block.mlp.register_forward_hook(lambda _, inputs, f, a=a: f + a(f))
        return
    for i, block in enumerate(model.bert.encoder.layer):
        if case == "joint":
            s, p = (module(case, tensors, place, i) for place in ("serial", "parallel"))
            block.output.forward = lambda z, x, s=s, p=p, o=block.output: (
                lambda f: o.LayerNorm(s(o.LayerNorm(f + x)) + f + p(x) + x))(o.dense(z))
            continue
        if "attention" in CASES[case]["places"]:
            a = module(case, tensors, "attention", i)
            block.attention.output.forward = lambda z, x, a=a, o=block.attention.output: (lambda z: o.LayerNorm(a(z) + z + x))(o.dense(z))
        a = module(case, tensors, "feed_forward", i)
        out = {
            "houlsby": lambda f, x, norm, a: norm(a(f) + f + x),
            "parallel": lambda f, x, norm, a: norm(f + a(x) + x),
        }.get(case, lambda f, x, norm, a: norm(a(norm(f + x)) + f + x))
        block.output.forward = lambda z, x, a=a, o=block.output, out=out: out(o.dense(z), x, o.LayerNorm, a)


def load(out, base):
    cls = hf.LlamaForCausalLM if base == "llama_tiny" else hf.BertForSequenceClassification
    return cls.from_pretrained(out / base, dtype=torch.float32, attn_implementation="eager").eval()


def answer(model, base):
    """Logits, one row a sequence or a token, and the loss."""
    if base == "llama_tiny":
        return torch.cat([logits(model, s["ids"]) for s in SEQUENCES]), step_loss(model, SEQUENCES)
    rows = torch.cat([forward(model, row, True).logits for row in input_sets()["bert"]])
    return rows, torch.nn.functional.cross_entropy(rows, torch.tensor(LABELS))


def mint(out, case):
    settings, tensors = dict(CASES[case]), {}
    base = settings["base"]
    for tag in ("f64", "f32"):
        model, plain = load(out, base), load(out, base)
        with Double() if tag == "f64" else nullcontext():
            if tag == "f64":
                double(model), double(plain)
            weights = draw(case, model.config.hidden_size)
            ours = {k: (v.double() if tag == "f64" else v.clone()).requires_grad_() for k, v in weights.items()}
            insert(model, case, ours)
            rows, loss = answer(model, base)
            loss.backward()
            before = answer(plain, base)[0]
            zero = {k: torch.zeros_like(v) if ".up." in k else v.detach() for k, v in ours.items()}
            insert(plain, case, zero)
            # With W_up and b_up zero the model is the base.
            assert (answer(plain, base)[0] - before).abs().max() < (1e-13 if tag == "f64" else 1e-5)
        settings[f"loss_{tag}"] = loss.item()
        tensors[f"logits_{tag}"] = rows.detach()
        moved = (rows - before).abs().max().item()
        assert moved > 0.1, (case, moved)
        if tag == "f64":
            tensors |= {f"gradient_f64.{k}": v.grad for k, v in ours.items()}
            if base == "models/bert":
                tensors |= {f"gradient_f64.classifier.{k}": p.grad for k, p in model.classifier.named_parameters()}
                known = json.loads((out / "cases.json").read_text())["models"]["bert"]["logits_f64"]
            else:
                known = load_file(out / "causal/llama_tiny.safetensors")["logits_f64"].tolist()
            assert (before - torch.tensor(known, dtype=torch.float64)).abs().max() < 1e-12
    assert all(t.abs().max() > 1e-6 for t in tensors.values()), case
    save_file(weights | tensors, out / "additive" / f"{case}.safetensors")
    print(f"{case}: loss {settings['loss_f64']:.9f}, logits move by {moved:.3f}")
    return settings


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    shutil.rmtree(out / "additive", ignore_errors=True)
    (out / "additive").mkdir(parents=True)
    write(out / "additive/cases.json", {"made_with": versions.installed(), "labels": LABELS, "cases": {c: mint(out, c) for c in CASES}})


if __name__ == "__main__":
    main()
