#!/usr/bin/env python3
"""Mints the fixtures of causal language models with Hugging Face transformers and PEFT. Deterministic, on the CPU.

    mint_causal.py --out tests/goldens

OUT/llama_tiny/, OUT/llama_tiny_tied/   HF folders: the first two models of formula.py in float32, and a tokenizer of 32 tokens
OUT/causal/cases.json        texts with their ids, sequences, and each model's losses
OUT/causal/<model>.safetensors  logits_f64, logits_f32 and, of every parameter, gradient_f64.<name>
OUT/causal/adapters/<case>/  a PEFT folder, expected.json, and expected.safetensors: logits_*, and gradient_*.<name> of its tensors
OUT/causal/trace/            init/ (PEFT folder, B = 0), trace.json, final_f64.safetensors: ten float64 steps of AdamW

Numbers: *_f64 in double precision all through (precision.py; the weights are the float32 ones of the file), *_f32 the float32 model;
attention "eager", eval mode, one sequence at a time; logits are [tokens of all sequences, 32], the sequences after one another. Batches
packed and padded by transformers, and the merged models, are asserted to agree. Position t predicts token t + 1.
`trained` says of every token whether it is a target (the first never is); `loss` is the mean over the targets of all sequences together,
`losses` over each sequence's own; gradients are those of `loss`. A part's share of a step is its number of targets over the step's:
`accumulation` has the parts' losses, the step's, and the mean of means that it is not.

Adapters' weights: A[k, i] = 0.05 sin(0.37 k + 0.11 i + 1 + m), B[o, k] = 0.2 cos(0.23 o + 0.71 k + m), saved heads plus
0.05 sin(0.3 i + m) on their flat index, DoRA's magnitudes times 1 + 0.1 sin(0.7 i + m); m counts the adapted modules in byte order of
their names.
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
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

import formula
from mint_goldens import adapter_json, write
from precision import Double, double

torch.set_num_threads(1)
hf.logging.set_verbosity_error()
hf.utils.logging.disable_progress_bar()

MODELS = {"llama_tiny": "llama", "llama_tiny_tied": "llama_tied"}
TEXTS = ["the cat sat.", "", "a  b", "the other path", "Then 7 é"]
# The first is the formula table's; the second's prompt is not trained; the third is the shortest with a target.
SEQUENCES = [
    dict(ids=formula.IDS, trained=[0, 1, 1, 1, 1, 1, 1, 1]),
    dict(ids=[1, 23, 11, 8, 3, 6, 4, 23, 3, 22, 4, 23, 29, 2], trained=[0] * 9 + [1] * 5),
    dict(ids=[1, 30], trained=[0, 1]),
    dict(ids=[(7 * i * i + 3 * i + 1) % 32 for i in range(21)], trained=[0] + [1] * 20),
]
for sequence in SEQUENCES:
    sequence["trained"] = [bool(t) for t in sequence["trained"]]


def tokenizer(folder):
    """Byte-level pairs of letters of English in lower case; what is not in the vocabulary is <unk>, a byte at a time."""
    vocab = ["<unk>", "<s>", "</s>", "Ġ", *"abcdefghijklmnopqrstuvwxyz", ".", "th"]
    assert len(vocab) == 32
    made = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(vocab)}, merges=[("t", "h")], unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens(vocab[:3])
    made.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s>:1 $B:1", special_tokens=[("<s>", 1)])
    fast = hf.PreTrainedTokenizerFast(tokenizer_object=made, unk_token="<unk>", bos_token="<s>", eos_token="</s>", model_max_length=64)
    fast.save_pretrained(folder)


def load(out, name):
    return hf.AutoModelForCausalLM.from_pretrained(out / name, dtype=torch.float32, attn_implementation="eager").eval()


def logits(model, ids):
    return model(input_ids=torch.tensor([ids]), use_cache=False).logits[0]


def nll(rows, sequence):
    """Sum of -log p of the targets of a sequence, from its rows of logits."""
    ids = torch.tensor(sequence["ids"])
    losses = -rows[:-1].log_softmax(-1).gather(1, ids[1:, None])[:, 0]
    return losses[torch.tensor(sequence["trained"][1:])].sum()


def targets(sequence):
    return sum(sequence["trained"])


def step_loss(model, sequences):
    return sum(nll(logits(model, s["ids"]), s) for s in sequences) / sum(map(targets, sequences))


def packed(model):
    """All sequences in one row; transformers takes positions that start again for the next sequence."""
    ids = [i for s in SEQUENCES for i in s["ids"]]
    positions = [p for s in SEQUENCES for p in range(len(s["ids"]))]
    rows = model(input_ids=torch.tensor([ids]), position_ids=torch.tensor([positions]), use_cache=False).logits[0]
    return rows.split([len(s["ids"]) for s in SEQUENCES])


def padded(model):
    width = max(len(s["ids"]) for s in SEQUENCES)
    ids = torch.tensor([s["ids"] + [0] * (width - len(s["ids"])) for s in SEQUENCES])
    mask = torch.tensor([[1] * len(s["ids"]) + [0] * (width - len(s["ids"])) for s in SEQUENCES])
    rows = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
    return [r[: len(s["ids"])] for r, s in zip(rows, SEQUENCES)]


def numbers(model, tag):
    """Losses and logits of the sequences, checked against transformers' own batches and loss."""
    with torch.no_grad():
        single = [logits(model, s["ids"]) for s in SEQUENCES]
        near = 1e-12 if tag == "f64" else 2e-5
        for other in (packed(model), padded(model)):
            assert max((a - b).abs().max().item() for a, b in zip(single, other)) < near
        losses = [nll(rows, s) / targets(s) for rows, s in zip(single, SEQUENCES)]
        for s, loss in zip(SEQUENCES, losses):
            ids = torch.tensor([s["ids"]])
            labels = torch.where(torch.tensor([s["trained"]]), ids, -100)
            assert abs(model(ids, labels=labels, use_cache=False).loss.item() - loss.item()) < near
        total = sum(loss * targets(s) for loss, s in zip(losses, SEQUENCES)) / sum(map(targets, SEQUENCES))
    return {f"losses_{tag}": [x.item() for x in losses], f"loss_{tag}": total.item()}, torch.cat(single)


def gradients(model, sequences):
    """Loss of a step, its gradient by name (a tied parameter under each of its names), and the gradient's norm."""
    model.zero_grad()
    loss = step_loss(model, sequences)
    loss.backward()
    grads = {n: p.grad.clone() for n, p in model.named_parameters(remove_duplicate=False) if p.grad is not None}
    return loss.item(), grads, torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]).norm().item()


def mint_models(out):
    entries = {}
    for name, row in MODELS.items():
        folder = out / name
        shutil.rmtree(folder, ignore_errors=True)
        model = formula.build(row)
        model.save_pretrained(folder)
        (folder / "generation_config.json").unlink(missing_ok=True)
        tokenizer(folder)
        entry, rows = numbers(load(out, name), "f32")
        tensors = {"logits_f32": rows}
        model = load(out, name)
        with Double():
            double(model)
            exact, tensors["logits_f64"] = numbers(model, "f64")
            _, grads, _ = gradients(model, SEQUENCES)
        entry |= exact
        save_file(tensors | {f"gradient_f64.{n}": grads[n] for n, _ in model.named_parameters()}, out / "causal" / f"{name}.safetensors")
        assert abs(entry["losses_f64"][0] - formula.rows()[row][2]) < 2e-5
        entries[name] = entry
        print(f"{name}: loss {entry['loss_f64']:.9f}, {len(grads)} gradients")
    fast = hf.AutoTokenizer.from_pretrained(out / "llama_tiny")
    texts = [{"text": t, "ids": fast(t)["input_ids"], "decoded": fast.decode(fast(t)["input_ids"], skip_special_tokens=True)} for t in TEXTS]
    write(out / "causal/cases.json", {"made_with": versions.installed(), "texts": texts, "sequences": SEQUENCES, "models": entries})


def adapters():
    """case -> (model, arguments of LoraConfig)."""
    qv = dict(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"])
    return {
        "lora_qv": ("llama_tiny", qv),
        "lora_all_linear": ("llama_tiny", dict(r=3, lora_alpha=6, target_modules="all-linear")),
        "lora_qv_lm_head": ("llama_tiny", dict(qv, modules_to_save=["lm_head"])),
        "dora_qv": ("llama_tiny", dict(qv, use_dora=True)),
        "rslora_tied_all_linear": ("llama_tiny_tied", dict(r=2, lora_alpha=3, use_rslora=True, target_modules="all-linear")),
        # Both names hold the one table.
        "lora_tied_saved": ("llama_tiny_tied", dict(qv, modules_to_save=["embed_tokens"], ensure_weight_tying=True)),
    }


def fill(model):
    """Gives the trainable parameters the weights of the module docstring."""
    trained = dict(sorted((n, p) for n, p in model.named_parameters() if p.requires_grad))
    modules = sorted({n.split(".lora_")[0].split(".modules_to_save")[0] for n in trained})
    with torch.no_grad():
        for name, p in trained.items():
            m = modules.index(name.split(".lora_")[0].split(".modules_to_save")[0])
            i = torch.arange(p.numel(), dtype=torch.float64).view(p.shape)
            if p.dim() == 2:
                row, column = torch.arange(p.shape[0], dtype=torch.float64)[:, None], torch.arange(p.shape[1], dtype=torch.float64)
            if "lora_A" in name:
                p.copy_(0.05 * torch.sin(0.37 * row + 0.11 * column + 1 + m))
            elif "lora_B" in name:
                p.copy_(0.2 * torch.cos(0.23 * row + 0.71 * column + m))
            elif "magnitude" in name:
                p.mul_(1 + 0.1 * torch.sin(0.7 * i + m))
            else:
                p.add_(0.05 * torch.sin(0.3 * i + m))


def save_adapter(model, folder, base):
    shutil.rmtree(folder, ignore_errors=True)
    model.peft_config["default"].base_model_name_or_path = base
    model.save_pretrained(folder)
    adapter_json(folder)


def named(model, grads):
    """Gradients under the names of the adapter's file."""
    state = get_peft_model_state_dict(model, state_dict={n: g for n, g in grads.items()})
    return {k: v.contiguous().clone() for k, v in sorted(state.items())}


def mint_adapter(out, case, base, arguments):
    folder = out / "causal/adapters" / case
    model = get_peft_model(load(out, base), LoraConfig(task_type="CAUSAL_LM", **arguments)).eval()
    fill(model)
    save_adapter(model, folder, base)
    expected, rows = {"base": base}, {}
    for tag in ("f64", "f32"):
        loaded = PeftModel.from_pretrained(load(out, base), folder, is_trainable=True).eval()
        with Double() if tag == "f64" else nullcontext():
            loaded = double(loaded) if tag == "f64" else loaded
            more, rows[f"logits_{tag}"] = numbers(loaded, tag)
            expected |= more
            _, grads, norm = gradients(loaded, SEQUENCES)
            rows |= {f"gradient_{tag}.{n}": g for n, g in named(loaded, grads).items()}
            if tag == "f64":
                expected["accumulation"] = {**accumulation(loaded, grads), "gradient_norm": norm}
            merged = numbers(loaded.merge_and_unload(), tag)[1]
        gap = (merged - rows[f"logits_{tag}"]).abs().max().item()
        assert gap < (1e-12 if tag == "f64" else 2e-5), (case, tag, gap)
    moved = (rows["logits_f64"] - load_file(out / "causal" / f"{base}.safetensors")["logits_f64"]).abs().max().item()
    assert moved > 0.05, (case, moved)
    tensors = load_file(folder / "adapter_model.safetensors")
    assert {f"gradient_f64.{n}" for n in tensors} <= set(rows), case
    save_file(rows, folder / "expected.safetensors")
    expected["tensors"] = {k: list(v.shape) for k, v in sorted(tensors.items())}
    write(folder / "expected.json", expected)
    print(f"{case}: loss {expected['loss_f64']:.9f}, logits move by {moved:.3f}, {len(tensors)} tensors")


def accumulation(model, whole):
    """A step of two parts with unequal numbers of targets. The parts' gradients, times their shares, add up to the whole's."""
    parts, total = [SEQUENCES[:2], SEQUENCES[2:]], sum(map(targets, SEQUENCES))
    losses, weights, summed = [], [], {}
    for part in parts:
        weights.append(sum(map(targets, part)))
        loss, grads, _ = gradients(model, part)
        losses.append(loss)
        for name, grad in grads.items():
            summed[name] = summed.get(name, 0) + grad * (weights[-1] / total)
    gap = max((summed[n] - g).abs().max().item() for n, g in whole.items())
    assert gap < 1e-14, gap
    return {"parts": [[0, 1], [2, 3]], "targets": weights, "losses": losses,
            "loss": sum(x * w for x, w in zip(losses, weights)) / total, "mean_of_means": sum(losses) / len(losses)}


def mint_trace(out):
    """Ten steps on fixed batches: two sequences each, in turn."""
    folder = out / "causal/trace"
    shutil.rmtree(folder, ignore_errors=True)
    base, steps, rate = "llama_tiny", 10, 1e-2
    model = get_peft_model(load(out, base), LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"]))
    fill(model)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "lora_B" in name:
                p.zero_()
            elif "lora_A" in name:
                p.mul_(5)
    save_adapter(model, folder / "init", base)
    batches, losses, norms = [[0, 1], [2, 3]], [], []
    model = PeftModel.from_pretrained(load(out, base), folder / "init", is_trainable=True).train()
    with Double():
        double(model)
        trained = [p for p in model.parameters() if p.requires_grad]
        optimizer = torch.optim.AdamW(trained, lr=rate, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0)
        for step in range(steps):
            loss, _, norm = gradients(model, [SEQUENCES[i] for i in batches[step % 2]])
            losses.append(loss)
            norms.append(norm)
            optimizer.step()
        state = {k: v.contiguous().clone() for k, v in get_peft_model_state_dict(model).items()}
        after, rows = numbers(model.eval(), "f64")
    save_file(state | {"logits_f64": rows}, folder / "final_f64.safetensors")
    assert losses[-1] < losses[1] - 0.1 and losses[-2] < losses[0] - 0.1, losses
    write(folder / "trace.json", {
        "base": base, "init": "init", "dropout": 0.0, "dtype": "float64", "steps": steps,
        "batches": batches, "order": "step k (0-based) takes the sequences, of ../cases.json, that batch k mod 2 names",
        "loss_kind": "cross entropy, mean over the targets of the batch",
        "optimizer": {"name": "AdamW", "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.0, "learning_rate": rate},
        "schedule": "constant", "clip": None, "losses": losses, "grad_norms": norms,
        "final": "final_f64.safetensors", "final_loss_f64": after["loss_f64"], "final_logits": "logits_f64 of final_f64.safetensors",
    })
    print(f"trace: {' '.join(f'{x:.6f}' for x in losses)}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    formula.table()
    shutil.rmtree(out / "causal", ignore_errors=True)
    (out / "causal").mkdir(parents=True)
    mint_models(out)
    for case, (base, arguments) in adapters().items():
        mint_adapter(out, case, base, arguments)
    mint_trace(out)


if __name__ == "__main__":
    main()
