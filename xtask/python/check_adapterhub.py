#!/usr/bin/env python3
"""Compares tests/goldens/additive with what AdapterHub's library computes from the same weights, in float64.

    python3 -m venv DIR && DIR/bin/pip install -r requirements-adapters.txt
    DIR/bin/python check_adapterhub.py --goldens tests/goldens

With --written DIR it also loads DIR/<case>, which `peft convert --to adapterhub` made of the folder of the same name in tests/goldens/adapterhub,
and compares with expected.json there.

Prints the largest difference of the logits of each case; exit code 1 where one is above 1e-10 (BERT) or 1e-5 (Llama, in which
transformers computes norms, softmax and angles in float32 whatever the model's type).
"""

import argparse
import json
import logging
import sys
from pathlib import Path

import versions

versions.check("requirements-adapters.txt")

import adapters
import torch
import transformers as hf
from adapters import DoubleSeqBnConfig, ParBnConfig, SeqBnConfig
from safetensors.torch import load_file

logging.getLogger("adapters").setLevel(logging.ERROR)
hf.logging.set_verbosity_error()
hf.utils.logging.disable_progress_bar()


def config(case, settings, width):
    """The library's configuration of a case."""
    sizes = settings["places"].values()
    common = dict(scaling=settings["scale"], non_linearity={"silu": "swish"}.get(settings["activation"], settings["activation"]))
    common["reduction_factor"] = width / min(sizes)
    if case == "houlsby":
        return DoubleSeqBnConfig(**common)
    if case == "parallel":
        return ParBnConfig(**common)
    # Where no norm follows, the library adds the residual to the module's input unless told not to.
    return SeqBnConfig(**common, original_ln_before=case not in ("serial", "serial_small"))


def set_weights(model, tensors):
    """Puts our tensors into the library's modules, whatever the size those were made with: it knows one for all places."""
    for name, module in model.named_modules():
        if not name.endswith(".adapters.a"):
            continue
        layer = name.split(".layer.")[-1].split(".layers.")[-1].split(".")[0]
        place = "attention" if "attention" in name else "feed_forward"
        for side, linear in ("down", module.adapter_down[0]), ("up", module.adapter_up):
            for part in ("weight", "bias"):
                setattr(linear, part, torch.nn.Parameter(tensors[f"{place}.{layer}.{side}.{part}"].double()))


def logits(model, goldens):
    with torch.no_grad():
        if isinstance(model, hf.LlamaForCausalLM):
            rows = json.loads((goldens / "causal/cases.json").read_text())["sequences"]
            return torch.cat([model(torch.tensor([r["ids"]])).logits[0] for r in rows])
        rows = json.loads((goldens / "cases.json").read_text())["inputs"]["bert"]
        return torch.cat([model(torch.tensor([r["ids"]]), token_type_ids=torch.tensor([r["type_ids"]])).logits for r in rows])


def load(goldens, base):
    cls = hf.LlamaForCausalLM if base == "llama_tiny" else hf.BertForSequenceClassification
    model = cls.from_pretrained(goldens / base, dtype=torch.float32, attn_implementation="eager").eval()
    adapters.init(model)
    return model


def gaps(goldens):
    """Of our equations."""
    for case, settings in json.loads((goldens / "additive/cases.json").read_text())["cases"].items():
        if case.startswith("joint") or case == "parallel_llama":
            # The library has no joint modules, and puts its parallel ones on a Llama before the norm.
            continue
        base = load(goldens, settings["base"])
        base.add_adapter("a", config=config(case, settings, base.config.hidden_size))
        base.set_active_adapters("a")
        tensors = load_file(goldens / f"additive/{case}.safetensors")
        base.double()
        set_weights(base, tensors)
        base.eval()
        gap = (logits(base, goldens) - tensors["logits_f64"]).abs().max().item()
        yield case, gap, 1e-5 if settings["base"] == "llama_tiny" else 1e-10


def gaps_of_written(goldens, written):
    """Of folders that we wrote."""
    for folder in sorted(written.iterdir()):
        expected = json.loads((goldens / "adapterhub" / folder.name / "expected.json").read_text())
        base = load(goldens, expected["base"])
        base.set_active_adapters(base.load_adapter(str(folder), use_safetensors=True))
        base.double()
        gap = (logits(base, goldens) - torch.tensor(expected["logits_f64"], dtype=torch.float64)).abs().max().item()
        yield f"written {folder.name}", gap, 1e-5


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--goldens", type=Path, required=True)
    parser.add_argument("--written", type=Path)
    arguments = parser.parse_args()
    good = True
    found = list(gaps(arguments.goldens))
    if arguments.written:
        found += gaps_of_written(arguments.goldens, arguments.written)
    for case, gap, limit in found:
        good = good and gap < limit
        print(f"{case}: {gap:.1e}")
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
