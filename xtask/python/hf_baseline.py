#!/usr/bin/env python3
"""Trains a text classifier with Hugging Face PEFT on CSV files, as the reference arm of the comparisons.

BertForSequenceClassification from --model (2 labels; HF makes the head: dropout + Linear, normal std 0.02, on the pooler's output),
adapted by peft.get_peft_model(task_type SEQ_CLS). The loop is our own: AdamW (betas .9/.999, eps 1e-8), two learning rates (adapter,
head), gradient clipped at --clip (global norm over adapter and head together), learning rate = base * factor, the factor at 0-based
step k being k/W while k < W, else (T-k)/(T-W), with W = ceil(warmup * T). Random order every epoch (textdata.epoch_batches), padding
to the longest of the batch, the model's own dropouts in training, lora_dropout 0. Selection accuracy after every epoch; the report
split is read at the end only: for the last epoch, and for the epoch of the best selection accuracy (the earliest of equals).

Writes OUT/metrics.jsonl (a line a step, a line an epoch), OUT/adapter (last epoch, save_pretrained), OUT/result.json.
"""

import argparse
import json
import os
import statistics
import time
from pathlib import Path

import versions

versions.check()


def arguments():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--model", type=Path, required=True)
    p.add_argument("--fit", type=Path, required=True)
    p.add_argument("--select", type=Path, required=True)
    p.add_argument("--report", type=Path, required=True)
    p.add_argument("--out", type=Path, required=True)
    p.add_argument("--arm", help="name of the arm in result.json; default hf_<method>_r<rank>")
    p.add_argument("--method", choices=["lora"], default="lora")
    p.add_argument("--rank", type=int, default=8)
    p.add_argument("--alpha", type=float, default=16)
    p.add_argument("--targets", default="query,value", help="comma-separated, or all-linear")
    p.add_argument("--lr", type=float, default=2e-3)
    p.add_argument("--head-lr", type=float, default=2e-3)
    p.add_argument("--epochs", type=int, default=3)
    p.add_argument("--batch-size", type=int, default=32)
    p.add_argument("--max-length", type=int, default=64)
    p.add_argument("--seed", type=int, default=0)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--warmup", type=float, default=0.06)
    p.add_argument("--schedule", choices=["linear", "constant"], default="linear")
    p.add_argument("--weight-decay", type=float, default=0.0)
    p.add_argument("--clip", type=float, default=1.0)
    p.add_argument("--group-by-length", action="store_true")
    p.add_argument("--contended", action="store_true", help="other work shares the machine: times are not to be used")
    p.add_argument("--max-steps", type=int, help="smoke tests: stop every epoch after this many steps")
    return p.parse_args()


def main():
    args = arguments()
    import torch
    from peft import LoraConfig, get_peft_model
    from safetensors.torch import load_file
    from transformers import BertForSequenceClassification

    from rss import Sampler, peak_rss
    from textdata import collate, encode, epoch_batches, read_csv, schedule_factor, tokenizer, warmup_steps

    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    tok = tokenizer(args.model, args.max_length)
    fit, select = encode(tok, read_csv(args.fit)), encode(tok, read_csv(args.select))

    model = BertForSequenceClassification.from_pretrained(args.model, num_labels=2, dtype=torch.float32)
    targets = args.targets if args.targets == "all-linear" else args.targets.split(",")
    alpha = int(args.alpha) if args.alpha == int(args.alpha) else args.alpha
    config = LoraConfig(
        task_type="SEQ_CLS", r=args.rank, lora_alpha=alpha, target_modules=targets, lora_dropout=0.0, bias="none"
    )
    model = get_peft_model(model, config)
    trainable = {n: p for n, p in model.named_parameters() if p.requires_grad}
    head = [p for n, p in trainable.items() if "modules_to_save" in n]
    adapter = [p for n, p in trainable.items() if "modules_to_save" not in n]
    count = lambda ps: sum(p.numel() for p in ps)
    optimizer = torch.optim.AdamW(
        [{"params": adapter, "lr": args.lr}, {"params": head, "lr": args.head_lr}],
        betas=(0.9, 0.999),
        eps=1e-8,
        weight_decay=args.weight_decay,
    )
    lengths = [len(ids) for ids, _ in fit]
    per_epoch = -(-len(fit) // args.batch_size)
    if args.max_steps:
        per_epoch = min(per_epoch, args.max_steps)
    total = per_epoch * args.epochs
    warmup = warmup_steps(args.warmup, total)
    base_rates = [args.lr, args.head_lr]

    def predict(rows):
        """One character '1' or '0' a row: correct or not. Rows are batched by length, answers put back in file order."""
        model.eval()
        order = sorted(range(len(rows)), key=lambda i: len(rows[i][0]))
        correct = [""] * len(rows)
        with torch.no_grad():
            for start in range(0, len(order), 64):
                part = order[start : start + 64]
                batch = collate([rows[i] for i in part])
                guess = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits.argmax(-1)
                for i, g, y in zip(part, guess.tolist(), batch["labels"].tolist()):
                    correct[i] = "1" if g == y else "0"
        return "".join(correct)

    accuracy = lambda s: s.count("1") / len(s)
    args.out.mkdir(parents=True, exist_ok=True)
    metrics = open(args.out / "metrics.jsonl", "w")

    def log(record):
        metrics.write(json.dumps(record) + "\n")
        metrics.flush()

    times, tokens, epochs, step = [], 0, [], 0
    best, best_state = None, None
    started = time.perf_counter()
    with Sampler(0.02) as sampler:
        for epoch in range(1, args.epochs + 1):
            model.train()
            loss_sum = rows_seen = 0
            for indices in epoch_batches(lengths, args.batch_size, args.seed, epoch, args.group_by_length)[:per_epoch]:
                began = time.perf_counter()
                factor = schedule_factor(step, total, warmup, args.schedule)
                for group, rate in zip(optimizer.param_groups, base_rates):
                    group["lr"] = rate * factor
                batch = collate([fit[i] for i in indices])
                loss = model(**batch).loss
                loss.backward()
                norm = torch.nn.utils.clip_grad_norm_(trainable.values(), args.clip)
                optimizer.step()
                optimizer.zero_grad()
                value = loss.item()
                elapsed = time.perf_counter() - began
                real = int(batch["attention_mask"].sum())
                times.append(elapsed)
                tokens += real
                loss_sum += value * len(indices)
                rows_seen += len(indices)
                step += 1
                log({"step": step, "epoch": epoch, "loss": value, "learning_rate": args.lr * factor,
                     "grad_norm": float(norm), "step_time_s": elapsed, "real_tokens": real})
            chosen = accuracy(predict(select))
            epochs.append({"epoch": epoch, "train_loss": loss_sum / rows_seen, "selection_accuracy": chosen})
            log(epochs[-1])
            print(json.dumps(epochs[-1]), flush=True)
            if best is None or chosen > best["selection_accuracy"]:
                best = epochs[-1]
                best_state = {n: p.detach().clone() for n, p in trainable.items()}
    train_time = time.perf_counter() - started
    anon = sampler.peak
    model.save_pretrained(args.out / "adapter")
    weights = args.out / "adapter" / "adapter_model.safetensors"
    saved = load_file(weights)

    report = encode(tok, read_csv(args.report))
    last = predict(report)
    if best is epochs[-1]:
        kept = last
    else:
        with torch.no_grad():
            for n, p in trainable.items():
                p.copy_(best_state[n])
        kept = predict(report)

    result = {
        "arm": args.arm or f"hf_{args.method}_r{args.rank}",
        "engine": "hf-peft",
        "seed": args.seed,
        "learning_rate": args.lr,
        "head_learning_rate": args.head_lr,
        "trainable_parameters": count(adapter),
        "head_parameters": count(head),
        "adapter_bytes": os.path.getsize(weights),
        "adapter_tensor_bytes_without_head": sum(t.numel() * t.element_size() for n, t in saved.items() if "lora_" in n),
        "steps": step,
        "step_time_s": statistics.median(times),
        "train_time_s": train_time,
        "real_tokens_per_s": tokens / sum(times),
        "peak_rss_bytes": peak_rss(),
        "peak_rss_anon_bytes": anon,
        "epochs": epochs,
        "kept_epoch": best["epoch"],
        "report_accuracy_last": accuracy(last),
        "report_accuracy_kept": accuracy(kept),
        "report_correct_last": last,
        "report_correct_kept": kept,
        "contended": args.contended,
        "versions": versions.installed(),
        "arguments": {k: str(v) if isinstance(v, Path) else v for k, v in vars(args).items()},
    }
    (args.out / "result.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps({k: result[k] for k in ("seed", "kept_epoch", "report_accuracy_last", "report_accuracy_kept", "step_time_s")}))


if __name__ == "__main__":
    main()
