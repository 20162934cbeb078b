#!/usr/bin/env python3
"""Trains LoRA on a causal language model with Hugging Face PEFT, as the reference arm of the comparisons.

    hf_causal.py --model DIR --make-start DIR --rank R --alpha A --target-modules NAMES --seed S
    hf_causal.py --model DIR --start DIR --batches FILE --output DIR --learning-rate F --steps N ...

The first form saves a new adapter (PEFT's own initial values, torch seeded with S). The second trains from it on the batches of
FILE, {"steps": [[row ...] ...], "report": [row ...]}, a row being {"ids": [...], "trained": [0 or 1 ...]}: position t predicts
token t + 1 where that is trained, and a step's loss is the mean over all such tokens of its rows together. Rows are padded on the
right and masked. AdamW (betas .9/.999, eps 1e-8), gradients clipped at --clip (global norm), learning rate = base * factor, the
factor at 0-based step k being k/W while k < W, else (T-k)/(T-W), with W = ceil(warmup * T). No dropout.

Writes OUTPUT/metrics.jsonl (a plan line, a line a step), OUTPUT (save_pretrained), OUTPUT/report.jsonl ({"index", "tokens", "loss"}
for every report row, loss being the mean over its tokens).
"""

import argparse
import json
import math
import os
import time
from pathlib import Path

import versions

versions.check()
os.environ.setdefault("HF_HUB_OFFLINE", "1")


def arguments():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--model", type=Path, required=True)
    p.add_argument("--make-start", type=Path)
    p.add_argument("--start", type=Path)
    p.add_argument("--batches", type=Path)
    p.add_argument("--output", type=Path)
    p.add_argument("--rank", type=int, default=8)
    p.add_argument("--alpha", type=float, default=16)
    p.add_argument("--target-modules", default="q_proj,v_proj", help="comma-separated, or all-linear")
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--learning-rate", type=float, default=2e-3)
    p.add_argument("--steps", type=int, default=50)
    p.add_argument("--warmup", type=float, default=0.06)
    p.add_argument("--clip", type=float, default=1.0)
    p.add_argument("--weight-decay", type=float, default=0.0)
    p.add_argument("--threads", type=int, default=2)
    return p.parse_args()


def padded(rows):
    """Ids, attention mask and labels; the first token of a row is never predicted."""
    import torch

    width = max(len(row["ids"]) for row in rows)
    fill = lambda values, value: values + [value] * (width - len(values))
    ids = torch.tensor([fill(row["ids"], 0) for row in rows])
    mask = torch.tensor([fill([1] * len(row["ids"]), 0) for row in rows])
    labels = [[i if t else -100 for i, t in zip(row["ids"], row["trained"])] for row in rows]
    return ids, mask, torch.tensor([fill(row, -100) for row in labels])


def costs(model, rows):
    """-log p of every token that is to be predicted, a tensor a row."""
    ids, mask, labels = padded(rows)
    logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, :-1]
    found = []
    for row, wanted in zip(logits, labels[:, 1:]):
        places = wanted >= 0
        nll = -row[places].float().log_softmax(-1).gather(1, wanted[places][:, None])[:, 0]
        found.append(nll)
    return found


def main():
    args = arguments()
    import torch
    from peft import LoraConfig, PeftModel, get_peft_model
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(args.threads)
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32)
    if args.make_start:
        torch.manual_seed(args.seed)
        targets = args.target_modules if args.target_modules == "all-linear" else args.target_modules.split(",")
        alpha = int(args.alpha) if args.alpha == int(args.alpha) else args.alpha
        config = LoraConfig(task_type="CAUSAL_LM", r=args.rank, lora_alpha=alpha, target_modules=targets, lora_dropout=0.0)
        get_peft_model(model, config).save_pretrained(args.make_start)
        return
    from textdata import schedule_factor, warmup_steps

    data = json.loads(args.batches.read_text())
    model = PeftModel.from_pretrained(model, args.start, is_trainable=True)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=args.learning_rate, betas=(0.9, 0.999), eps=1e-8, weight_decay=args.weight_decay)
    assert len(data["steps"]) == args.steps, f"{len(data['steps'])} batches for {args.steps} steps"
    warmup = warmup_steps(args.warmup, args.steps)
    args.output.mkdir(parents=True, exist_ok=True)
    with open(args.output / "metrics.jsonl", "w") as log:
        plan = {"event": "plan", "trainable_parameters": sum(p.numel() for p in trained), "versions": versions.installed()}
        print(json.dumps(plan), file=log, flush=True)
        model.train()
        for step, rows in enumerate(data["steps"]):
            began = time.perf_counter()
            factor = schedule_factor(step, args.steps, warmup, "linear")
            for group in optimizer.param_groups:
                group["lr"] = args.learning_rate * factor
            loss = torch.cat(costs(model, rows)).mean()
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(trained, args.clip or math.inf)
            optimizer.step()
            optimizer.zero_grad()
            record = {"event": "step", "step": step + 1, "loss": loss.item(), "learning_rate": args.learning_rate * factor,
                      "gradient_norm": float(norm), "step_time_s": time.perf_counter() - began}
            print(json.dumps(record), file=log, flush=True)
    model.save_pretrained(args.output)
    model.eval()
    report, order = data["report"], sorted(range(len(data["report"])), key=lambda i: -len(data["report"][i]["ids"]))
    losses = [None] * len(report)
    with torch.no_grad():
        for start in range(0, len(order), 8):
            part = order[start : start + 8]
            for i, nll in zip(part, costs(model, [report[i] for i in part])):
                losses[i] = nll.double()
    with open(args.output / "report.jsonl", "w") as out:
        for i, nll in enumerate(losses):
            print(json.dumps({"index": i, "tokens": nll.numel(), "loss": nll.mean().item()}), file=out)


if __name__ == "__main__":
    main()
