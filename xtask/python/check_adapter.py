#!/usr/bin/env python3
"""Loads an adapter folder with Hugging Face PEFT and prints its logits as JSON: shows that PEFT reads what our side wrote.

    check_adapter.py --base DIR --adapter DIR --cases FILE [--inputs NAME] [--expect FILE --tolerance 1e-4]

FILE of --cases is tests/goldens/cases.json (with --inputs, default: chosen by the base's model_type), tests/goldens/causal/cases.json,
{"rows": [...]}, {"sequences": [...]}, or a bare list; a row is {"ids": [...], "type_ids": [...] or null} or a bare list of ids.

The base is loaded as what the adapter is of: with task_type CAUSAL_LM a language model, whose logits are one row a token; with SEQ_CLS or a
classifier in the file a classifier, one row a sequence; else without a head. --expect names a JSON file with logits_f64, logits_f32 or
logits: rows, or for a language model a list of rows for each sequence, or the rows of all sequences after one another, or the last row of
each; or a safetensors file with a tensor of one of these names. The largest difference from the float64 logits is printed, and the exit
code is 1 when it exceeds the tolerance.

Prints {"adapter","peft_type","task_type","tensors","keys_missing_in_file","keys_unused_by_peft","max_difference"?} and
    classifier      "logits_f32","logits_f64","merged_logits_f64"
    language model  "losses_f64" (mean of -log p of the ids after the first, of each sequence), "last_top_f64" (the five likeliest ids after
                    each sequence and their logits), "single_gap" and "merged_gap" (largest differences of the float32 and of the merged
                    float64 logits from the float64 ones), with few tokens and ids also "logits_f64"
    no head         "mean_pooled_f64"
float64 is model.double(), for language models double precision all through (precision.py).
Exit 0: loaded, no key left over or missing. Exit 1: loaded but keys or logits differ. Anything PEFT raises is printed, exit 2.
"""

import argparse
import json
import os
import sys
import traceback
import warnings
from contextlib import nullcontext
from pathlib import Path

import versions

versions.check()
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import transformers as hf
from peft import PeftConfig, PeftModel, get_peft_model_state_dict
from safetensors import safe_open
from safetensors.torch import load_file

from precision import Double, double

hf.logging.set_verbosity_error()
hf.utils.logging.disable_progress_bar()
warnings.simplefilter("ignore")

PRINTED = 20_000


def read_rows(args, model_type):
    cases = json.loads(args.cases.read_text())
    if isinstance(cases, dict):
        if "inputs" in cases:
            kind = {"roberta": "roberta", "xlm-roberta": "roberta", "distilbert": "distilbert"}.get(model_type, "bert")
            cases = cases["inputs"][args.inputs or kind]
        else:
            cases = next(cases[k] for k in ("rows", "sequences") if k in cases)
    return [row if isinstance(row, dict) else {"ids": row} for row in cases]


def read_expected(file):
    """Rows of logits, [rows, outputs]."""
    names = ("logits_f64", "logits_f32", "logits")
    if file.suffix == ".safetensors":
        tensors = load_file(file)
        return next(tensors[n] for n in names if n in tensors).double()
    values = json.loads(file.read_text())
    values = next(values[n] for n in names if n in values)
    if isinstance(values[0][0], list):
        values = [row for sequence in values for row in sequence]
    return torch.tensor(values, dtype=torch.float64)


def run(args):
    config = PeftConfig.from_pretrained(args.adapter)
    with safe_open(args.adapter / "adapter_model.safetensors", "pt") as file:
        shapes = {key: file.get_slice(key).get_shape() for key in file.keys()}
    base_config = hf.AutoConfig.from_pretrained(args.base)
    heads = [s[0] for k, s in shapes.items() if k.endswith(("classifier.weight", "classifier.out_proj.weight", ".score.weight"))]
    causal = config.task_type == "CAUSAL_LM"
    classifier = not causal and (bool(heads) or config.task_type == "SEQ_CLS")
    rows = read_rows(args, base_config.model_type)

    def load():
        cls, more = hf.AutoModelForCausalLM if causal else hf.AutoModel, {}
        if classifier:
            cls, more = hf.AutoModelForSequenceClassification, {"num_labels": heads[0] if heads else base_config.num_labels}
        eager = {} if base_config.model_type.startswith("mamba") else {"attn_implementation": "eager"}
        base = cls.from_pretrained(args.base, dtype=torch.float32, **eager, **more)
        return PeftModel.from_pretrained(base, args.adapter).eval()

    def answer(model):
        """A tensor [rows, outputs] for each input row; one row but for language models."""
        out = []
        for row in rows:
            kwargs = {"input_ids": torch.tensor([row["ids"]]), "attention_mask": torch.ones(1, len(row["ids"]), dtype=torch.long)}
            if row.get("type_ids") is not None:
                kwargs["token_type_ids"] = torch.tensor([row["type_ids"]])
            with torch.no_grad():
                output = model(**kwargs, **({"use_cache": False} if causal else {}))
            out.append(output.logits[0] if causal else output.logits if classifier else output.last_hidden_state[0].mean(0)[None])
        return out

    # PEFT computes these updates in single precision, and cannot do otherwise.
    through = causal and config.peft_type not in ("FOURIERFT", "C3A")

    def exact(merge):
        model = load()
        with Double() if through else nullcontext():
            model = double(model) if through else model.double()
            return answer(model.merge_and_unload().eval() if merge else model)

    model = load()
    # The whole embedding table that PEFT adds to a file by itself is not the adapter's.
    wanted = set(get_peft_model_state_dict(model, save_embedding_layers=False))
    unused = {k for k in set(shapes) - wanted if not k.endswith(".base_layer.weight")}
    # The head's bias once more, and the base's own; an adapter of a table is that of its head, too.
    again = (".modules_to_save.", ".original_module.", *([".lm_head."] if getattr(config, "ensure_weight_tying", False) else []))
    missing = {k for k in wanted - set(shapes) if not any(part in k for part in again)}
    result = {
        "adapter": str(args.adapter),
        "peft_type": str(config.peft_type.value if hasattr(config.peft_type, "value") else config.peft_type),
        "task_type": config.task_type,
        "tensors": {k: list(s) for k, s in sorted(shapes.items())},
        "keys_missing_in_file": sorted(missing),
        "keys_unused_by_peft": sorted(unused),
    }
    single, found = answer(model), exact(False)
    logits = torch.cat(found)
    if causal:
        top = [rows[-1].topk(5) for rows in found]
        result["losses_f64"] = [
            torch.nn.functional.cross_entropy(l[:-1], torch.tensor(row["ids"][1:])).item() for l, row in zip(found, rows)]
        result["last_top_f64"] = [list(zip(t.indices.tolist(), t.values.tolist())) for t in top]
        result["single_gap"] = (torch.cat(single) - logits).abs().max().item()
        result["merged_gap"] = (torch.cat(exact(True)) - logits).abs().max().item()
        if logits.numel() <= PRINTED:
            result["logits_f64"] = [r.tolist() for r in found]
    elif classifier:
        result["logits_f32"], result["logits_f64"] = torch.cat(single).tolist(), logits.tolist()
        result["merged_logits_f64"] = torch.cat(exact(True)).tolist()
    else:
        result["mean_pooled_f64"] = logits.tolist()
    good = not result["keys_missing_in_file"] and not result["keys_unused_by_peft"]
    if args.expect:
        want = read_expected(args.expect)
        if causal and len(want) == len(found) != len(logits):
            logits = torch.stack([rows[-1] for rows in found])
        assert want.shape == logits.shape, f"{args.expect} holds logits of {list(want.shape)}, the model gives {list(logits.shape)}"
        gap = (logits - want).abs().max().item()
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
