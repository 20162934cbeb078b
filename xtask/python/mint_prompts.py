#!/usr/bin/env python3
"""Mints the fixtures of prompts and prefixes with Hugging Face PEFT. Deterministic, on the CPU.

    mint_prompts.py --out tests/goldens        (after mint_goldens.py, mint_causal.py, mint_lora_options.py and mint_ssm.py, whose models it takes)

OUT/prompts/<case>/            a PEFT folder, expected.json (base, losses, shapes of the tensors) and expected.safetensors: logits_f64 and logits_f32,
                               one row a sequence (BERT) or a token, rows of a prompt left out, and gradient_f64 of the file's one tensor

Rows, sequences and labels are those of mint_additive.py; so is the loss. What trains through a network (a projection, P-tuning) is drawn as the
network's, and the file holds what comes of it, as PEFT saves it. Weights are N(0, 0.5^2) of a prompt's rows and a prefix, and PyTorch's own of
networks, by a seed of the case.
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

import torch
import transformers as hf
from peft import PeftModel, PrefixTuningConfig, PromptEncoderConfig, PromptTuningConfig, get_peft_model
from safetensors.torch import load_file, save_file

import mint_goldens as goldens
from mint_causal import SEQUENCES, adapter_json, load as load_causal, nll, targets
from mint_goldens import write
from precision import Double, double

torch.set_num_threads(1)
hf.logging.set_verbosity_error()
hf.utils.logging.disable_progress_bar()

LABELS = [0, 2, 1, 0, 1]
BERT = "models/bert"
CASES = {
    "prompt_bert": (BERT, PromptTuningConfig, dict(num_virtual_tokens=3)),
    "prompt_roberta": ("models/roberta", PromptTuningConfig, dict(num_virtual_tokens=2)),
    "p_tuning_bert": (BERT, PromptEncoderConfig, dict(num_virtual_tokens=3, encoder_hidden_size=20)),
    "prompt_llama": ("llama_tiny", PromptTuningConfig, dict(num_virtual_tokens=4)),
    "prompt_gpt2": ("gpt2_tiny", PromptTuningConfig, dict(num_virtual_tokens=3)),
    "prompt_mamba": ("mamba_tiny", PromptTuningConfig, dict(num_virtual_tokens=3, token_dim=16, num_layers=2, num_attention_heads=1)),
    "p_tuning_llama": ("llama_tiny", PromptEncoderConfig, dict(num_virtual_tokens=3, encoder_hidden_size=10)),
    "p_tuning_lstm": ("llama_tiny_tied", PromptEncoderConfig, dict(
        num_virtual_tokens=2, encoder_hidden_size=8, encoder_reparameterization_type="LSTM")),
    "prefix_llama": ("llama_tiny", PrefixTuningConfig, dict(num_virtual_tokens=4)),
    "prefix_gpt2": ("gpt2_tiny", PrefixTuningConfig, dict(num_virtual_tokens=3)),
    "prefix_projected": ("llama_tiny_tied", PrefixTuningConfig, dict(num_virtual_tokens=3, prefix_projection=True, encoder_hidden_size=12)),
}


def load(out, base):
    if base.startswith("models/"):
        return goldens.load(out, base.removeprefix("models/"), False)
    return load_causal(out, base)


def rows_of(model, base, out_rows):
    """Logits of the tokens, each input by itself."""
    if base.startswith("models/"):
        inputs = goldens.input_sets()["roberta" if base.endswith("roberta") else "bert"]
        return [goldens.forward(model, row, True).logits for row in inputs if len(row["ids"]) < 36]
    rows = []
    for sequence in SEQUENCES:
        given = model(input_ids=torch.tensor([sequence["ids"]]), use_cache=False).logits[0]
        rows.append(given[-len(sequence["ids"]) :])
    return rows


def answer(model, base):
    rows = rows_of(model, base, None)
    if base.startswith("models/"):
        labels = torch.tensor([LABELS[i] for i in (0, 1, 2, 4)])
        return torch.cat(rows), torch.nn.functional.cross_entropy(torch.cat(rows), labels)
    loss = sum(nll(r, s) for r, s in zip(rows, SEQUENCES)) / sum(map(targets, SEQUENCES))
    return torch.cat(rows), loss


def mint(out, case):
    base, config, arguments = CASES[case]
    folder = out / "prompts" / case
    task = "SEQ_CLS" if base.startswith("models/") else "CAUSAL_LM"
    torch.manual_seed(sum(map(ord, case)))
    model = get_peft_model(load(out, base), config(task_type=task, **arguments)).eval()
    encoder = model.prompt_encoder["default"]
    if not any(hasattr(encoder, name) for name in ("transform", "mlp_head")):
        torch.nn.init.normal_(encoder.embedding.weight, std=0.5)
    shutil.rmtree(folder, ignore_errors=True)
    model.peft_config["default"].base_model_name_or_path = base
    model.save_pretrained(folder)
    adapter_json(folder)
    with torch.no_grad():
        direct = answer(model, base)[0]
    expected, tensors = {"base": base}, {}
    for tag in ("f64", "f32"):
        loaded = PeftModel.from_pretrained(load(out, base), folder).eval()
        with Double() if tag == "f64" else nullcontext():
            if tag == "f64":
                double(loaded)
            weight = loaded.prompt_encoder["default"].embedding.weight
            weight.requires_grad_()
            rows, loss = answer(loaded, base)
            loss.backward()
            plain = load(out, base)
            if tag == "f64":
                double(plain)
            with torch.no_grad():
                before = answer(plain, base)[0]
        tensors[f"logits_{tag}"] = rows.detach()
        expected[f"loss_{tag}"] = loss.item()
        if tag == "f64":
            tensors["gradient_f64"] = weight.grad
            moved = (rows - before).abs().max().item()
            assert moved > 0.05, (case, moved)
    gap = (tensors["logits_f32"] - direct).abs().max().item()
    assert gap < 1e-4, (case, gap)
    expected["tensors"] = {k: list(v.shape) for k, v in sorted(load_file(folder / "adapter_model.safetensors").items())}
    save_file(tensors, folder / "expected.safetensors")
    write(folder / "expected.json", expected)
    print(f"{case}: loss {expected['loss_f64']:.9f}, logits move by {moved:.3f}, {expected['tensors']}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", nargs="+")
    arguments = parser.parse_args()
    for case in arguments.only or CASES:
        mint(arguments.out, case)


if __name__ == "__main__":
    main()
