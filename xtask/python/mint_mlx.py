#!/usr/bin/env python3
"""Mints adapters of MLX-LM and what it computes with them, in an environment with requirements-mlx.txt. Deterministic, on the CPU.

    cargo xtask mint mlx --python MLX_PYTHON -- --out tests/goldens

OUT/mlx/<case>/   adapters.safetensors and adapter_config.json as `mlx_lm.lora` leaves them, and expected.json: of the model `base`, a
                  folder of OUT, the logits of the sequences of causal/cases.json with the adapter, float32, one sequence at a time

Values: lora_a[i, k] = 0.05 sin(0.37 k + 0.11 i + 1 + m), lora_b[k, o] = 0.2 cos(0.23 o + 0.71 k + m), m times 1 + 0.1 sin(0.7 i + m);
the m of the formulas counts the adapted modules in byte order of their names. The adapter's file is loaded into a fresh model for the
logits, as `mlx_lm.generate` does.
"""

import argparse
import json
import shutil
from pathlib import Path

import versions

versions.check("requirements-mlx.txt")

import mlx.core as mx
from mlx.utils import tree_flatten, tree_unflatten
from mlx_lm.tuner.utils import linear_to_lora_layers, load_adapters
from mlx_lm.utils import load_model

mx.set_default_device(mx.cpu)

BASE = "llama_tiny"
CASES = {
    # Of the last block alone.
    "lora": dict(num_layers=1, keys=["self_attn.q_proj", "self_attn.v_proj", "mlp.down_proj"], rank=3, scale=2.5),
    # No keys: every linear module of a block; a number below 0: every block.
    "dora": dict(num_layers=-1, keys=None, rank=2, scale=1.5),
    # A module outside of the blocks.
    "head": dict(num_layers=2, keys=["self_attn.k_proj", "lm_head"], rank=4, scale=0.5),
}


def load(out):
    return load_model(out / BASE)[0]


def fill(model):
    values = dict(tree_flatten(model.trainable_parameters()))
    modules = sorted({name.rsplit(".", 1)[0] for name in values})
    for name, value in values.items():
        module, leaf = name.rsplit(".", 1)
        m = modules.index(module)
        if leaf == "m":
            i = mx.arange(value.size)
            values[name] = value * (1 + 0.1 * mx.sin(0.7 * i + m))
            continue
        row, column = mx.arange(value.shape[0])[:, None], mx.arange(value.shape[1])[None]
        values[name] = 0.05 * mx.sin(0.37 * column + 0.11 * row + 1 + m) if leaf == "lora_a" else 0.2 * mx.cos(0.23 * column + 0.71 * row + m)
    model.update(tree_unflatten(list(values.items())))


def logits(model, sequences):
    return [row.tolist() for ids in sequences for row in model(mx.array([ids]))[0].astype(mx.float32)]


def mint(out, case, num_layers, keys, rank, scale):
    folder = out / "mlx" / case
    folder.mkdir(parents=True)
    parameters = dict(rank=rank, scale=scale, dropout=0.0) | (dict(keys=keys) if keys else {})
    kind = "dora" if case == "dora" else "lora"
    model = load(out)
    model.freeze()
    linear_to_lora_layers(model, num_layers, parameters, use_dora=kind == "dora")
    fill(model)
    # As mlx_lm.lora: every argument of the command; these are the ones that are read.
    config = dict(adapter_path="adapters", batch_size=4, fine_tune_type=kind, iters=100, learning_rate=1e-5, lora_parameters=parameters,
                  model=BASE, num_layers=num_layers, seed=0, train=True)
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=4))
    mx.save_safetensors(str(folder / "adapters.safetensors"), dict(tree_flatten(model.trainable_parameters())))
    sequences = [s["ids"] for s in json.loads((out / "causal/cases.json").read_text())["sequences"]]
    plain, adapted = logits(load(out), sequences), logits(load_adapters(load(out), folder), sequences)
    moved = max(abs(a - b) for one, two in zip(plain, adapted) for a, b in zip(one, two))
    assert moved > 0.01, (case, moved)
    expected = dict(made_with=versions.pins("requirements-mlx.txt"), base=BASE, logits=[[round(x, 7) for x in row] for row in adapted])
    (folder / "expected.json").write_text(json.dumps(expected) + "\n")
    print(f"{case}: logits move by {moved:.3f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    shutil.rmtree(out / "mlx", ignore_errors=True)
    for case, settings in CASES.items():
        mint(out, case, **settings)


if __name__ == "__main__":
    main()
