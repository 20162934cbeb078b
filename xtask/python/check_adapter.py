#!/usr/bin/env python3
"""Loads an adapter folder with Hugging Face PEFT and prints its logits as JSON: shows that PEFT reads what our side wrote.

    check_adapter.py --base DIR --adapter DIR --cases FILE [--inputs NAME] [--expect FILE --tolerance 1e-4]

FILE of --cases is tests/goldens/cases.json (with --inputs, default: chosen by the base's model_type), or {"rows": [...]}, or a bare
list; a row is {"ids": [...], "type_ids": [...] or null}. With --expect, a JSON file holding logits_f64 or logits_f32 or logits (rows x
labels), the largest difference from the float64 logits is printed and the exit code is 1 when it exceeds the tolerance.

Prints {"adapter","peft_type","task_type","tensors","keys_missing_in_file","keys_unused_by_peft","logits_f32","logits_f64",
"merged_logits_f64","max_difference"?}; for a base loaded without a head, "mean_pooled_f64" in place of the logits.
Exit 0: loaded, no key left over or missing. Exit 1: loaded but keys or logits differ. Anything PEFT raises is printed, exit 2.
"""

import argparse
import json
import os
import sys
import traceback
import warnings
from pathlib import Path

import versions

versions.check()
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import transformers as hf
from peft import PeftConfig, PeftModel, get_peft_model_state_dict
from safetensors import safe_open

hf.logging.set_verbosity_error()
hf.utils.logging.disable_progress_bar()
warnings.simplefilter("ignore")


def run(args):
    config = PeftConfig.from_pretrained(args.adapter)
    with safe_open(args.adapter / "adapter_model.safetensors", "pt") as file:
        shapes = {key: file.get_slice(key).get_shape() for key in file.keys()}
    base_config = hf.AutoConfig.from_pretrained(args.base)
    heads = [s[0] for k, s in shapes.items() if k.endswith(("classifier.weight", "classifier.out_proj.weight", ".score.weight"))]
    classifier = bool(heads) or config.task_type == "SEQ_CLS"

    def load(double):
        if classifier:
            labels = heads[0] if heads else base_config.num_labels
            base = hf.AutoModelForSequenceClassification.from_pretrained(
                args.base, num_labels=labels, dtype=torch.float32, attn_implementation="eager")
        else:
            base = hf.AutoModel.from_pretrained(args.base, dtype=torch.float32, attn_implementation="eager")
        model = PeftModel.from_pretrained(base, args.adapter).eval()
        return model.double() if double else model

    cases = json.loads(args.cases.read_text())
    if isinstance(cases, dict) and "inputs" in cases:
        kind = {"roberta": "roberta", "xlm-roberta": "roberta", "distilbert": "distilbert"}.get(base_config.model_type, "bert")
        rows = cases["inputs"][args.inputs or kind]
    else:
        rows = cases["rows"] if isinstance(cases, dict) else cases

    def answer(model):
        out = []
        for row in rows:
            kwargs = {"input_ids": torch.tensor([row["ids"]]), "attention_mask": torch.ones(1, len(row["ids"]), dtype=torch.long)}
            if row.get("type_ids") is not None:
                kwargs["token_type_ids"] = torch.tensor([row["type_ids"]])
            with torch.no_grad():
                output = model(**kwargs)
            out.append((output.logits[0] if classifier else output.last_hidden_state[0].mean(0)).tolist())
        return out

    model = load(False)
    wanted = set(get_peft_model_state_dict(model))
    result = {
        "adapter": str(args.adapter),
        "peft_type": str(config.peft_type.value if hasattr(config.peft_type, "value") else config.peft_type),
        "task_type": config.task_type,
        "tensors": {k: list(s) for k, s in sorted(shapes.items())},
        "keys_missing_in_file": sorted(wanted - set(shapes)),
        "keys_unused_by_peft": sorted(set(shapes) - wanted),
    }
    single, double = answer(model), answer(load(True))
    if classifier:
        result["logits_f32"], result["logits_f64"] = single, double
        result["merged_logits_f64"] = answer(load(True).merge_and_unload().eval())
    else:
        result["mean_pooled_f64"] = double
    good = not result["keys_missing_in_file"] and not result["keys_unused_by_peft"]
    if args.expect:
        expect = json.loads(args.expect.read_text())
        want = next(expect[k] for k in ("logits_f64", "logits_f32", "logits") if k in expect)
        gap = (torch.tensor(double, dtype=torch.float64) - torch.tensor(want, dtype=torch.float64)).abs().max().item()
        result["max_difference"] = gap
        good = good and gap <= args.tolerance
    print(json.dumps(result, indent=1))
    return 0 if good else 1


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--adapter", type=Path, required=True)
    parser.add_argument("--cases", type=Path, required=True)
    parser.add_argument("--inputs")
    parser.add_argument("--expect", type=Path)
    parser.add_argument("--tolerance", type=float, default=1e-4)
    try:
        sys.exit(run(parser.parse_args()))
    except Exception:
        traceback.print_exc()
        sys.exit(2)


if __name__ == "__main__":
    main()
