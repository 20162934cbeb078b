#!/usr/bin/env python3
"""Mints what PEFT computes for batches whose rows name their adapters (`adapter_names`), of adapters in tests/goldens.

    mint_sets.py --out tests/goldens

OUT/sets.json: the adapters (name -> folder), and cases of a name for every row with the logits, float64. The adapters have ranks,
targets and saved modules of their own; `__base__` is the model without any. Rows are padded to the longest.
"""

import argparse
import json
from pathlib import Path

import versions

versions.check()

import torch
from peft import PeftModel

from mint_goldens import load, logits, padded_logits, write

ADAPTERS = {"low": "lora_qv", "wide": "all_linear_patterns", "upper": "layers_to_transform"}
CASES = [
    ["low", "wide", "__base__", "upper", "low"],
    ["upper", "upper", "low", "wide", "upper"],
    ["__base__", "wide", "wide", "__base__", "wide"],
]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    rows = json.loads((out / "cases.json").read_text())["inputs"]["bert"]
    base = load(out, "bert", True)
    model = None
    for name, folder in ADAPTERS.items():
        folder = out / "adapters" / folder
        if model is None:
            model = PeftModel.from_pretrained(base, folder, adapter_name=name)
        else:
            model.load_adapter(folder, adapter_name=name)
    model = model.double().eval()
    alone = {}
    for name in ADAPTERS:
        model.set_adapter(name)
        alone[name] = logits(model, rows)
    with model.disable_adapter():
        alone["__base__"] = logits(model, rows)
    cases = []
    for names in CASES:
        assert len(names) == len(rows)
        mixed = padded_logits(model, rows, model.config.pad_token_id, adapter_names=names)
        one_by_one = torch.tensor([alone[name][i] for i, name in enumerate(names)], dtype=torch.float64)
        gap = (mixed - one_by_one).abs().max().item()
        print(f"{names}: {gap:.1e} beside each row alone")
        assert gap < 1e-12
        cases.append({"adapters": names, "logits_f64": mixed.tolist()})
    moved = [torch.tensor(a) - torch.tensor(b) for a in alone.values() for b in alone.values() if a is not b]
    assert min(gap.abs().max().item() for gap in moved) > 0.05
    write(out / "sets.json", {"made_with": versions.installed(), "base": "models/bert", "inputs": "bert", "adapters": ADAPTERS, "cases": cases})


if __name__ == "__main__":
    main()
