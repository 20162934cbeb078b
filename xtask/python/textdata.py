"""Reading the CSV files of prepare_data.py, tokenising, and forming batches. Shared by hf_baseline.py and torch_bench.py."""

import csv
import math
import random
from pathlib import Path

import torch
from tokenizers import Tokenizer

LABELS = ("negative", "positive")


def read_csv(path):
    with open(path, encoding="utf-8", newline="") as file:
        return [(row["text"], LABELS.index(row["label"])) for row in csv.DictReader(file)]


def tokenizer(model_dir, max_length):
    tok = Tokenizer.from_file(str(Path(model_dir) / "tokenizer.json"))
    tok.no_padding()
    tok.enable_truncation(max_length)
    return tok


def encode(tok, rows):
    """[(ids, label)] with [CLS] … [SEP], cut at the tokenizer's maximum."""
    return [(e.ids, label) for e, (_, label) in zip(tok.encode_batch([t for t, _ in rows]), rows)]


def collate(rows, pad_id=0):
    """Pads on the right to the longest row of the batch."""
    width = max(len(ids) for ids, _ in rows)
    ids = torch.full((len(rows), width), pad_id, dtype=torch.long)
    mask = torch.zeros((len(rows), width), dtype=torch.long)
    for i, (row, _) in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row)
        mask[i, : len(row)] = 1
    return {"input_ids": ids, "attention_mask": mask, "labels": torch.tensor([label for _, label in rows])}


def epoch_batches(lengths, batch_size, seed, epoch, grouped):
    """Row indices of every batch of one epoch; the last batch may be short.

    Order: random.Random(f"{seed}:{epoch}").shuffle of all rows. Grouped: the shuffled rows are cut into chunks of 50 batches, each
    chunk sorted by length descending (stable), cut into batches, and the batches shuffled with the same generator.
    """
    generator = random.Random(f"{seed}:{epoch}")
    order = list(range(len(lengths)))
    generator.shuffle(order)
    if not grouped:
        return [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
    batches, chunk = [], 50 * batch_size
    for start in range(0, len(order), chunk):
        part = sorted(order[start : start + chunk], key=lambda i: -lengths[i])
        batches += [part[i : i + batch_size] for i in range(0, len(part), batch_size)]
    generator.shuffle(batches)
    return batches


def schedule_factor(step, total, warmup_steps, kind="linear"):
    """Multiplier of the learning rate at 0-based optimizer step: step/W while step < W, then (T-step)/(T-W) (as HF)."""
    if step < warmup_steps:
        return step / warmup_steps
    if kind == "constant":
        return 1.0
    return max(0.0, (total - step) / max(1, total - warmup_steps))


def warmup_steps(fraction, total):
    """ceil(fraction * total), as the HF Trainer."""
    return math.ceil(fraction * total)
