#!/usr/bin/env python3
"""Mints adapter folders of AdapterHub's library and what it computes with them. Deterministic, on the CPU.

    python3 -m venv DIR && DIR/bin/pip install -r requirements-adapters.txt
    DIR/bin/python mint_adapterhub.py --out tests/goldens        (after mint_goldens.py and mint_causal.py, whose models it takes)

OUT/adapterhub/<case>/   adapter_config.json and pytorch_adapter.bin as the library saves them, and expected.json: base and logits_f64, one row a
                         sequence (BERT) or a token. Rows and sequences are those of cases.json (set "bert") and causal/cases.json; weights are
                         N(0, 0.3^2), biases N(0, 0.1^2).
"""

import argparse
import json
import logging
import os
import shutil
from pathlib import Path

import versions

versions.check("requirements-adapters.txt")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import adapters
import torch
import transformers as hf
from adapters import DoubleSeqBnConfig, ParBnConfig, SeqBnConfig

logging.getLogger("adapters").setLevel(logging.ERROR)
hf.logging.set_verbosity_error()
hf.utils.logging.disable_progress_bar()
torch.set_num_threads(1)

BERT, LLAMA = "models/bert", "llama_tiny"
CASES = {
    "bert_seq": (BERT, SeqBnConfig(reduction_factor=4)),
    "bert_double": (BERT, DoubleSeqBnConfig(reduction_factor=8)),
    "bert_par": (BERT, ParBnConfig(reduction_factor=4)),
    "llama_seq": (LLAMA, SeqBnConfig(reduction_factor=4, original_ln_before=False)),
    "llama_double": (LLAMA, DoubleSeqBnConfig(reduction_factor=8)),
    "llama_par": (LLAMA, ParBnConfig(reduction_factor=2)),
    "llama_sum": (LLAMA, SeqBnConfig(reduction_factor=4)),
}


def mint(out, case):
    base, config = CASES[case]
    cls = hf.LlamaForCausalLM if base == LLAMA else hf.BertForSequenceClassification
    model = cls.from_pretrained(out / base, dtype=torch.float32, attn_implementation="eager").eval()
    adapters.init(model)
    model.add_adapter("mine", config=config)
    model.set_active_adapters("mine")
    draws = torch.Generator().manual_seed(sum(map(ord, case)))
    for name, p in sorted(model.named_parameters()):
        if ".adapters.mine." in name:
            scale = 0.1 if name.endswith("bias") else 0.3
            p.data.copy_(scale * torch.randn(p.shape, generator=draws))
    folder = out / "adapterhub" / case
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    model.save_adapter(str(folder), "mine", with_head=False)
    file = folder / "adapter_config.json"
    settings = json.loads(file.read_text())
    settings["model_name"] = base
    file.write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n")
    model.double()
    with torch.no_grad():
        if base == LLAMA:
            rows = json.loads((out / "causal/cases.json").read_text())["sequences"]
            logits = torch.cat([model(torch.tensor([r["ids"]])).logits[0] for r in rows])
        else:
            rows = json.loads((out / "cases.json").read_text())["inputs"]["bert"]
            logits = torch.cat([model(torch.tensor([r["ids"]]), token_type_ids=torch.tensor([r["type_ids"]])).logits for r in rows])
    (folder / "expected.json").write_text(json.dumps({"base": base, "logits_f64": logits.tolist()}) + "\n")
    print(case, sorted(p.name for p in folder.iterdir()), logits.abs().max().item())


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    for case in CASES:
        mint(out, case)


if __name__ == "__main__":
    main()
