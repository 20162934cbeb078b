#!/usr/bin/env python3
"""Loads an adapter that `peft convert --to mlx` wrote with MLX-LM and compares its logits with PEFT's, in an environment with
requirements-mlx.txt.

    check_mlx.py --goldens tests/goldens --case lora_all_linear --adapter CONVERTED

The case is one of GOLDENS/causal/adapters, from which CONVERTED was made; its expected logits are HF PEFT's. Exits with 1 if they
differ by more than 2e-5.
"""

import argparse
import json
import sys
from pathlib import Path

import versions

versions.check("requirements-mlx.txt")

import mlx.core as mx
from mlx_lm.tuner.utils import load_adapters
from mlx_lm.utils import load_model
from safetensors.numpy import load_file

mx.set_default_device(mx.cpu)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--goldens", type=Path, required=True)
    parser.add_argument("--case", required=True)
    parser.add_argument("--adapter", type=Path, required=True)
    args = parser.parse_args()
    folder = args.goldens / "causal/adapters" / args.case
    base = json.loads((folder / "expected.json").read_text())["base"]
    model = load_adapters(load_model(args.goldens / base)[0], args.adapter)
    sequences = json.loads((args.goldens / "causal/cases.json").read_text())["sequences"]
    found = mx.concatenate([model(mx.array([s["ids"]]))[0] for s in sequences])
    wanted = mx.array(load_file(folder / "expected.safetensors")["logits_f32"])
    gap = mx.abs(found - wanted).max().item()
    print(f"{args.case}: the largest difference of a logit is {gap:.1e}")
    sys.exit(gap > 2e-5)


if __name__ == "__main__":
    main()
