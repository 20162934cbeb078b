#!/usr/bin/env python3
"""Mints the reference fixtures of tests/goldens with Hugging Face transformers and PEFT. Deterministic, on the CPU.

    mint_goldens.py --out tests/goldens [--minilm DIR] [--models NAME ...] [--adapters CASE ...]

OUT/models/<name>/        config.json + model.safetensors (save_pretrained) of tiny random models
OUT/cases.json            input rows and every model's outputs
OUT/adapters/<case>/      a PEFT folder (adapter_config.json, adapter_model.safetensors) + expected.json
OUT/traces/<case>/        init/ (PEFT folder), trace.json, final/ (PEFT folder), final_f64.safetensors
OUT/tokens/<case>/        a PEFT folder of a token classification on a base of OUT/models + expected.json: logits, one row a token
OUT/minilm.json           with --minilm: sentence vectors of all-MiniLM-L6-v2
OUT/distances.json        rows of the tables of distances of MPNet and DeBERTa-v3, for distances from -600 to 600
With --models, --adapters and --tokens, these of OUT/models, OUT/adapters and OUT/tokens and nothing else, beside what is there.

Numbers: *_f64 is model.double() (the float32 weights converted; ModernBERT in double all through, precision.py), *_f32 the float32 model; one row at a time, no padding, attention
"eager", eval mode. Weights are drawn by numpy PCG64 seeded with sha256 of the name: matrices N(0, .15^2), embeddings N(0, .5^2),
biases N(0, .1^2), layer-norm weights 1 + N(0, .2^2), classifier matrices N(0, .5^2).
"""

import argparse
import contextlib
import hashlib
import json
import os
import re
import shutil
from pathlib import Path

import versions

versions.check()
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import torch
import transformers as hf
from peft import (
    AdaLoraConfig, C3AConfig, FourierFTConfig, IA3Config, LNTuningConfig, LoraConfig, PeftModel, ShiraConfig, VeraConfig, WaveFTConfig,
    get_peft_model,
)
from safetensors.torch import load_file, save_file

from precision import Double, double
from textdata import schedule_factor

torch.set_num_threads(1)
hf.logging.set_verbosity_error()

COMMON = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64, vocab_size=99)
DROP = dict(hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1)


def families():
    """name -> (class, config, kind, input set, the model whose weights it takes or None)."""
    bert = dict(**COMMON, **DROP, max_position_embeddings=40, type_vocab_size=2, hidden_act="gelu", pad_token_id=0)
    roberta = dict(**COMMON, **DROP, max_position_embeddings=42, type_vocab_size=1, hidden_act="gelu", pad_token_id=1,
                   bos_token_id=0, eos_token_id=2, layer_norm_eps=1e-5)
    distil = dict(vocab_size=99, dim=32, n_layers=2, n_heads=4, hidden_dim=64, max_position_embeddings=40, activation="gelu",
                  dropout=0.1, attention_dropout=0.1, seq_classif_dropout=0.2, pad_token_id=0)
    albert = dict(**{**COMMON, "num_hidden_layers": 3}, **DROP, embedding_size=16, num_hidden_groups=1, inner_group_num=1,
                  max_position_embeddings=40, type_vocab_size=2, hidden_act="gelu_new", pad_token_id=0)
    electra = dict(**COMMON, **DROP, embedding_size=16, max_position_embeddings=40, type_vocab_size=2, hidden_act="gelu", pad_token_id=0)
    mpnet = dict(**COMMON, **DROP, max_position_embeddings=42, hidden_act="gelu", pad_token_id=1, bos_token_id=0, eos_token_id=2)
    deberta = dict(**COMMON, **DROP, max_position_embeddings=40, hidden_act="gelu", pad_token_id=0, relative_attention=True,
                   share_att_key=True, pos_att_type=["p2c", "c2p"])
    # As DeBERTa-v3; then positions of tokens, segments, a row for every distance, and one half of the scores alone.
    deberta_v3 = dict(**deberta, max_relative_positions=-1, position_buckets=8, norm_rel_ebd="layer_norm", position_biased_input=False,
                      type_vocab_size=0)
    deberta_plain = dict(**{**deberta, "pos_att_type": "c2p"}, max_relative_positions=24, position_biased_input=True, type_vocab_size=2,
                         pooler_hidden_act="tanh", pooler_dropout=0.2, cls_dropout=0.3)
    modernbert = dict(**{**COMMON, "num_hidden_layers": 4}, max_position_embeddings=40, local_attention=8, global_attn_every_n_layers=3,
                      pad_token_id=0, bos_token_id=2, cls_token_id=2, eos_token_id=3, sep_token_id=3)
    modernbert_mean = dict(**{**modernbert, "num_hidden_layers": 2}, classifier_pooling="mean", norm_bias=True, attention_bias=True, mlp_bias=True,
                           classifier_bias=True, layer_types=["sliding_attention", "full_attention"])
    three = dict(num_labels=3)
    classify = "sequence_classification"
    return {
        "bert": (hf.BertForSequenceClassification, hf.BertConfig(**bert, **three), classify, "bert", None),
        "bert_base": (hf.BertModel, hf.BertConfig(**bert), "encoder", "bert", None),
        "bert_tanh": (hf.BertForSequenceClassification, hf.BertConfig(**{**bert, "hidden_act": "gelu_new"}, **three), classify,
                      "bert", None),
        "bert_f16": (hf.BertForSequenceClassification, None, classify, "bert", "bert"),
        "bert_bf16": (hf.BertForSequenceClassification, None, classify, "bert", "bert"),
        "bert_sharded": (hf.BertForSequenceClassification, None, classify, "bert", "bert"),
        "roberta": (hf.RobertaForSequenceClassification, hf.RobertaConfig(**roberta, **three), classify, "roberta", None),
        "xlm_roberta": (hf.XLMRobertaForSequenceClassification, hf.XLMRobertaConfig(**roberta, **three), classify, "roberta", None),
        "distilbert": (hf.DistilBertForSequenceClassification, hf.DistilBertConfig(**distil, **three), classify, "distilbert", None),
        "albert": (hf.AlbertForSequenceClassification, hf.AlbertConfig(**albert, **three), classify, "bert", None),
        "electra": (hf.ElectraForSequenceClassification, hf.ElectraConfig(**electra, **three), classify, "bert", None),
        "mpnet": (hf.MPNetForSequenceClassification, hf.MPNetConfig(**mpnet, **three), classify, "distilbert", None),
        "deberta_v3": (hf.DebertaV2ForSequenceClassification, hf.DebertaV2Config(**deberta_v3, **three), classify, "bert", None),
        "deberta_plain": (hf.DebertaV2ForSequenceClassification, hf.DebertaV2Config(**deberta_plain, **three), classify, "bert", None),
        "modernbert": (hf.ModernBertForSequenceClassification, hf.ModernBertConfig(**modernbert, **three), classify, "distilbert", None),
        "modernbert_mean": (hf.ModernBertForSequenceClassification, hf.ModernBertConfig(**modernbert_mean, **three), classify, "distilbert",
                            None),
        "camembert": (hf.CamembertForSequenceClassification, hf.CamembertConfig(**roberta, **three), classify, "roberta", None),
    }


def generator(name):
    return np.random.Generator(np.random.PCG64(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")))


def fill(named, name):
    """Draws every given parameter, in the order of its name."""
    rng = generator(name)
    for key, p in sorted(named):
        noise = torch.from_numpy(rng.standard_normal(tuple(p.shape)).astype(np.float32))
        norm = "norm" in key.rsplit(".", 2)[-2].lower()
        if key.endswith("weight") and norm:
            value = 1 + 0.2 * noise
        elif key.endswith("bias"):
            value = 0.1 * noise
        elif "embeddings" in key or "classifier" in key or "relative_attention" in key:
            value = 0.5 * noise
        elif "lora_" in key:
            value = 0.3 * noise
        elif "ia3_l" in key:
            value = 1 + 0.4 * noise
        elif "vera_lambda" in key:
            value = noise
        else:
            value = 0.15 * noise
        with torch.no_grad():
            p.copy_(value)


def input_sets():
    """Rows: 7 tokens; the shortest (start and end only); 12 with a second segment; 40 = the longest; 21."""
    rng = generator("inputs")
    sets = {"bert": [], "roberta": [], "distilbert": []}
    for length in (7, 2, 12, 40, 21):
        inner = rng.integers(5, 99, length - 2).tolist()
        types = [0] * 7 + [1] * 5 if length == 12 else [0] * length
        sets["bert"].append({"ids": [2, *inner, 3], "type_ids": types, "length": length})
        sets["roberta"].append({"ids": [0, *inner, 2], "type_ids": [0] * length, "length": length})
        sets["distilbert"].append({"ids": [2, *inner, 3], "type_ids": None, "length": length})
    return sets


def forward(model, row, gradients=False):
    kwargs = {"input_ids": torch.tensor([row["ids"]]), "attention_mask": torch.ones(1, len(row["ids"]), dtype=torch.long)}
    if row["type_ids"] is not None:
        kwargs["token_type_ids"] = torch.tensor([row["type_ids"]])
    with torch.set_grad_enabled(gradients):
        return model(**kwargs)


def logits(model, rows):
    return [forward(model, row).logits[0].tolist() for row in rows]


def padded_logits(model, rows, pad, **more):
    """All rows in one batch, padded on the right with a mask: must agree with one row at a time."""
    width = max(len(r["ids"]) for r in rows)
    grow = lambda xs, v: xs + [v] * (width - len(xs))
    kwargs = {
        "input_ids": torch.tensor([grow(r["ids"], pad) for r in rows]),
        "attention_mask": torch.tensor([grow([1] * len(r["ids"]), 0) for r in rows]),
    }
    if rows[0]["type_ids"] is not None:
        kwargs["token_type_ids"] = torch.tensor([grow(r["type_ids"], 0) for r in rows])
    with torch.no_grad():
        return model(**kwargs, **more).logits


def load(out, name, wide, **config):
    cls = families()[name][0]
    model = cls.from_pretrained(out / "models" / name, dtype=torch.float32, attn_implementation="eager", **config).eval()
    return widened(model, name) if wide else model


def widened(model, base):
    """A model of a base in double precision. To be called, and to compute, inside `precise`."""
    return double(model) if base.startswith("modernbert") else model.double()


def precise(base, tag):
    """Where ModernBERT must not turn to single precision on its way."""
    return Double() if tag == "f64" and base.startswith("modernbert") else contextlib.nullcontext()


def write(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(value, indent=1)
    # Lists of plain numbers go on one line.
    text = re.sub(r"\[[^\[\]{}\"]*\]", lambda m: "[" + ", ".join(m.group()[1:-1].split()).replace(",,", ",") + "]", text)
    assert json.loads(text) == value
    path.write_text(text + "\n")


def mint_models(out, only=()):
    for name, (cls, config, _, _, source) in families().items():
        if only and name not in only:
            continue
        folder = out / "models" / name
        shutil.rmtree(folder, ignore_errors=True)
        if source:
            model = load(out, source, False)
        else:
            model = cls(config).eval()
            fill(model.named_parameters(), name)
        model = {"bert_f16": model.half, "bert_bf16": model.bfloat16}.get(name, lambda: model)()
        model.save_pretrained(folder, **({"max_shard_size": "30KB"} if name == "bert_sharded" else {}))
        (folder / "generation_config.json").unlink(missing_ok=True)
    sets = input_sets()
    models = json.loads((out / "cases.json").read_text())["models"] if only else {}
    for name, (cls, _, kind, inputs, _) in families().items():
        if only and name not in only:
            continue
        rows, entry = sets[inputs], {"kind": kind, "inputs": inputs}
        for tag in ("f64", "f32"):
            with precise(name, tag):
                model = load(out, name, tag == "f64")
                if kind == "encoder":
                    outputs = [forward(model, row) for row in rows]
                    entry[f"last_hidden_state_row0_{tag}"] = outputs[0].last_hidden_state[0].tolist()
                    entry[f"pooler_output_{tag}"] = [o.pooler_output[0].tolist() for o in outputs]
                else:
                    entry[f"logits_{tag}"] = logits(model, rows)
                    batch = padded_logits(model, rows, model.config.pad_token_id)
                    gap = (batch - torch.tensor(entry[f"logits_{tag}"], dtype=batch.dtype)).abs().max().item()
                    assert gap < (1e-12 if tag == "f64" else 1e-5), (name, tag, gap)
        models[name] = entry
    assert models["bert"]["logits_f64"] == models["bert_sharded"]["logits_f64"]
    write(out / "cases.json", {"made_with": versions.installed(), "inputs": sets, "models": models})
    return sets


def mint_distances(out):
    """By the distance from query to key, the row of MPNet's table and of DeBERTa-v3's, of 256 buckets up to 512 tokens."""
    from transformers.models.deberta_v2.modeling_deberta_v2 import make_log_bucket_position
    from transformers.models.mpnet.modeling_mpnet import MPNetEncoder

    distances = torch.arange(-600, 601)
    write(out / "distances.json", {
        "first": -600,
        "mpnet": MPNetEncoder.relative_position_bucket(-distances).tolist(),
        "deberta_v3": (make_log_bucket_position(distances, 256, 512).long() + 256).clamp(0, 511).tolist()})


def save_adapter(model, folder, base):
    """save_pretrained, with the base's path relative to the fixtures' folder."""
    shutil.rmtree(folder, ignore_errors=True)
    model.peft_config["default"].base_model_name_or_path = f"models/{base}"
    model.save_pretrained(folder)
    adapter_json(folder)


def adapter_json(folder):
    """What PEFT has saved, made the same on every machine: sorted lists, no model card."""
    (folder / "README.md").unlink(missing_ok=True)
    config = json.loads((folder / "adapter_config.json").read_text())
    for key in ("target_modules", "modules_to_save", "exclude_modules", "feedforward_modules"):
        if isinstance(config.get(key), list):
            config[key] = sorted(config[key])
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def adapter_cases():
    """case -> (base model, arguments of the configuration, its class if not LoRA's)."""
    qv = dict(r=4, lora_alpha=8, target_modules=["query", "value"])
    adalora = dict(init_r=5, target_r=3, tinit=10, tfinal=20, deltaT=5, total_step=100, lora_alpha=100,
                   target_modules=["query", "value"])
    return {
        "lora_qv": ("bert", qv),
        "rslora_qv": ("bert", dict(qv, use_rslora=True)),
        "dora_qv": ("bert", dict(qv, use_dora=True)),
        "all_linear_patterns": ("bert", dict(
            r=4, lora_alpha=8, target_modules="all-linear", exclude_modules=["key", "pooler.dense"],
            rank_pattern={r"layer\.1\..*query": 2, "layer.0.output.dense": 6, r".*intermediate\.dense": 3},
            alpha_pattern={r"layer\.1\..*query": 3, r".*intermediate\.dense": 12})),
        "layers_to_transform": ("bert", dict(qv, layers_to_transform=[1])),
        "regex_target": ("bert", dict(r=3, lora_alpha=6, target_modules=r".*layer\.0\.(attention\.self\.(query|key)|output\.dense)")),
        "modules_to_save": ("bert", dict(qv, modules_to_save=["pooler"])),
        "bias_lora_only": ("bert", dict(qv, bias="lora_only")),
        "bias_all": ("bert", dict(qv, bias="all")),
        "bias_all_distilbert": ("distilbert", dict(r=4, lora_alpha=8, target_modules=["q_lin", "v_lin"], bias="all")),
        "lora_bias": ("bert", dict(qv, lora_bias=True)),
        "embeddings": ("bert", dict(r=3, lora_alpha=6, target_modules=["word_embeddings", "token_type_embeddings", "query"])),
        "dora_embeddings": ("albert", dict(r=3, lora_alpha=6, target_modules=["word_embeddings", "position_embeddings", "query"], use_dora=True)),
        "tokens": ("roberta", dict(qv, trainable_token_indices=[11, 4, 60])),
        "fourierft_bias": ("bert", dict(n_frequency=60, scaling=300.0, target_modules=["query", "value"], bias="fourier_only"), FourierFTConfig),
        "vera_bias": ("bert", dict(r=6, target_modules=["query", "value"], bias="all"), VeraConfig),
        "roberta_qv": ("roberta", qv),
        "distilbert_qv": ("distilbert", dict(r=4, lora_alpha=8, target_modules=["q_lin", "v_lin"])),
        "albert_qv": ("albert", qv),
        "mpnet_qv": ("mpnet", dict(qv, target_modules=["q", "v"])),
        "mpnet_all_linear": ("mpnet", dict(r=3, lora_alpha=6, target_modules="all-linear")),
        # Projections of the tokens are those of the distances, too.
        "deberta_v3_qv": ("deberta_v3", dict(qv, target_modules=["query_proj", "value_proj"])),
        "deberta_v3_all_linear": ("deberta_v3", dict(r=3, lora_alpha=6, target_modules="all-linear")),
        "deberta_plain_bias": ("deberta_plain", dict(qv, target_modules=["query_proj", "key_proj", "dense"], bias="lora_only")),
        "modernbert_qkv": ("modernbert", dict(qv, target_modules=["Wqkv"])),
        "modernbert_all_linear": ("modernbert", dict(r=3, lora_alpha=6, target_modules="all-linear")),
        "modernbert_mean_dora": ("modernbert_mean", dict(qv, target_modules=["Wqkv", "Wi", "Wo", "head.dense"], use_dora=True)),
        "fourierft_qv": ("bert", dict(n_frequency=60, scaling=300.0, random_loc_seed=2024, target_modules=["query", "value"],
                                      n_frequency_pattern={r"layer\.1\..*query": 25}), FourierFTConfig),
        "fourierft_feed_forward": ("distilbert", dict(n_frequency=100, scaling=500.0, target_modules=["q_lin", "lin1", "lin2"]), FourierFTConfig),
        "waveft_all_linear": ("bert", dict(n_frequency=80, scaling=5.0, target_modules="all-linear"), WaveFTConfig),
        "waveft_db3_qv": ("bert", dict(n_frequency=70, scaling=4.0, wavelet_family="db3", random_loc_seed=5,
                                          target_modules=["query", "value"]), WaveFTConfig),
        "waveft_no_idwt": ("bert", dict(n_frequency=50, scaling=3.0, use_idwt=False, target_modules=["query"]), WaveFTConfig),
        "adalora_qv": ("bert", dict(adalora), AdaLoraConfig),
        "adalora_bias": ("bert", dict(adalora, bias="lora_only"), AdaLoraConfig),
        "adalora_pruned": ("bert", dict(adalora, rank_pattern={
            f"bert.encoder.layer.{layer}.attention.self.{name}.lora_E": kept for layer, name, kept in [
                (0, "query", [True, False, True, True, False]), (0, "value", [True] * 5),
                (1, "query", [False] * 5), (1, "value", [False, False, False, True, False])]}), AdaLoraConfig),
        "c3a_qv": ("bert", dict(block_size=8, target_modules=["query", "value"]), C3AConfig),
        "c3a_all_linear": ("bert", dict(block_size=16, block_size_pattern={r"layer\.0\..*query": 4},
                                        target_modules=["query", "intermediate.dense", "output.dense"]), C3AConfig),
        "shira_qv": ("bert", dict(r=3, random_seed=42, target_modules=["query", "value"]), ShiraConfig),
        "shira_feed_forward": ("distilbert", dict(r=2, random_seed=7, target_modules=["q_lin", "lin1", "lin2"]), ShiraConfig),
        "shira_magnitude": ("bert", dict(r=2, mask_type="magnitude", target_modules=["key", "intermediate.dense"]), ShiraConfig),
        "vera_qv": ("bert", dict(r=6, target_modules=["query", "value"]), VeraConfig),
        "ia3_bert": ("bert", dict(target_modules=["key", "value", "output.dense"], feedforward_modules=["output.dense"]), IA3Config),
        "ia3_distilbert": ("distilbert", dict(target_modules=r".*(k_lin|v_lin|lin1|lin2)", feedforward_modules=r".*\.lin2"), IA3Config),
        "ln_bert": ("bert", dict(target_modules=["LayerNorm"]), LNTuningConfig),
        "ln_albert": ("albert", dict(target_modules=["full_layer_layer_norm", "attention.LayerNorm"]), LNTuningConfig),
        # Layers of several widths share one pair of projections, which the file does not hold.
        "vera_all_linear_drawn": ("bert", dict(r=8, projection_prng_key=2**33 + 11, save_projection=False,
                                               target_modules="all-linear"), VeraConfig),
        "vera_feed_forward": ("distilbert", dict(r=5, projection_prng_key=3, d_initial=0.5, target_modules=["q_lin", "lin1", "lin2"]),
                              VeraConfig),
    }


def largest_weights(layer, r, **_):
    """SHiRA's mask by magnitude, which PEFT leaves to its users; of equal entries the first."""
    weight = layer.weight.detach().abs().flatten()
    order = torch.sort(weight, descending=True, stable=True).indices
    mask = torch.zeros_like(weight)
    mask[order[: r * sum(layer.weight.shape)]] = 1
    return mask.view(layer.weight.shape)
def offset_cases():
    """case -> arguments of a LoRA whose start PEFT takes off the base weight, converted to plain LoRA when saved."""
    qv = dict(r=4, lora_alpha=6, target_modules=["query", "value"])
    return {
        "pissa_converted": dict(qv, init_lora_weights="pissa"),
        "pissa_niter_rslora_converted": dict(qv, init_lora_weights="pissa_niter_16", use_rslora=True),
        "olora_converted": dict(qv, init_lora_weights="olora"),
    }


def mint_offset(out, sets, case, arguments):
    """The start is kept in the file: rows r.. of lora_A and, negated, columns r.. of lora_B.

    No task type: PEFT's conversion leaves the head out of the file, and cannot read it again then.
    """
    cases = json.loads((out / "cases.json").read_text())["models"]
    folder, start = out / "adapters" / case, out / "start"
    torch.manual_seed(0)  # pissa_niter draws
    model = get_peft_model(load(out, "bert", False), LoraConfig(**arguments)).eval()
    kept = model.peft_config["default"].init_lora_weights
    # As PEFT's documentation says: the start is saved as what it is, without being made anew when it is read.
    model.peft_config["default"].init_lora_weights = True
    model.save_pretrained(start)
    model.peft_config["default"].init_lora_weights = kept
    moved = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    rng = generator(case)
    with torch.no_grad():
        for _, p in sorted(moved):
            p.add_(torch.from_numpy(0.15 * rng.standard_normal(tuple(p.shape)).astype(np.float32)))
    base = model.peft_config["default"]
    base.base_model_name_or_path = "models/bert"
    shutil.rmtree(folder, ignore_errors=True)
    rows = sets["bert"]
    direct = logits(model, rows)
    model.save_pretrained(folder, path_initial_model_for_weight_conversion=str(start))
    shutil.rmtree(start)
    (folder / "README.md").unlink(missing_ok=True)
    config = json.loads((folder / "adapter_config.json").read_text())
    config["target_modules"] = sorted(config["target_modules"])
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    expected = {"base": "models/bert", "inputs": "bert", "start": {k: arguments[k] for k in arguments if k != "target_modules"}}
    for tag in ("f64", "f32"):
        loaded = PeftModel.from_pretrained(load(out, "bert", False), folder).eval()
        loaded = loaded.double() if tag == "f64" else loaded
        expected[f"logits_{tag}"] = logits(loaded, rows)
        expected[f"merged_logits_{tag}"] = logits(loaded.merge_and_unload().eval(), rows)
    gap = np.abs(np.array(expected["logits_f64"]) - np.array(direct)).max()
    moved = np.abs(np.array(expected["logits_f64"]) - np.array(cases["bert"]["logits_f64"])).max()
    assert moved > 0.1 and gap < 1e-3, (case, moved, gap)
    tensors = load_file(folder / "adapter_model.safetensors")
    expected["tensors"] = {k: list(v.shape) for k, v in sorted(tensors.items())}
    write(folder / "expected.json", expected)
    print(f"{case}: logits move by {moved:.3f}, {gap:.1e} beside the adapter over its changed base, {len(tensors)} tensors")


# PEFT computes these updates in single precision whatever the model's type.
SINGLE = ("FOURIERFT", "C3A")


def mint_adapters(out, sets, only=()):
    cases = json.loads((out / "cases.json").read_text())["models"]
    for case, (base, arguments, *config) in adapter_cases().items():
        if only and case not in only:
            continue
        folder = out / "adapters" / case
        config = (config or [LoraConfig])[0](task_type="SEQ_CLS", **arguments)
        kind = config.peft_type.value
        if arguments.get("mask_type") == "magnitude":
            config.mask_fn = largest_weights
        model = get_peft_model(load(out, base, False), config).eval()
        # DoRA's magnitudes stay near the norms they start from.
        magnitudes = [p for n, p in model.named_parameters() if "magnitude" in n]
        fill([(n, p) for n, p in model.named_parameters() if p.requires_grad and "magnitude" not in n], case)
        rng = generator(case + "/magnitude")
        with torch.no_grad():
            for p in magnitudes:
                p.mul_(torch.from_numpy(1 + 0.2 * rng.standard_normal(tuple(p.shape)).astype(np.float32)))
        for name, kept in (arguments.get("rank_pattern") or {}).items() if kind == "ADALORA" else ():
            with torch.no_grad():
                model.get_parameter(f"base_model.model.{name}.default")[~torch.tensor(kept)] = 0.0
        save_adapter(model, folder, base)
        rows = sets[cases[base]["inputs"]]
        expected = {"base": f"models/{base}", "inputs": cases[base]["inputs"], "scaling": {}}
        for name, module in model.named_modules():
            if kind == "LORA" and hasattr(module, "lora_A") and "default" in getattr(module, "scaling", {}):
                expected["scaling"][name.removeprefix("base_model.model.")] = {
                    "rank": module.r["default"], "scaling": module.scaling["default"]}
        for tag in ("f64", "f32"):
            loaded = PeftModel.from_pretrained(load(out, base, False), folder).eval()
            context = precise(base, tag)
            context.__enter__()
            loaded = widened(loaded, base) if tag == "f64" else loaded
            expected[f"logits_{tag}"] = logits(loaded, rows)
            if arguments.get("bias", "none") == "none":  # PEFT cannot take trained biases back
                with loaded.disable_adapter():
                    assert logits(loaded, rows) == cases[base][f"logits_{tag}"], case
            scalings = [(m, dict(m.scaling)) for m in loaded.modules() if isinstance(getattr(m, "scaling", None), dict)]
            effect = float("nan")
            if kind == "LORA" and "dora" not in case:
                for m, _ in scalings:
                    m.scaling = {k: 0.0 for k in m.scaling}
                without = np.array(logits(loaded, rows))
                effect = np.abs(without - np.array(expected[f"logits_{tag}"])).max()
                assert effect > 0.3, (case, effect)
                for m, old in scalings:
                    m.scaling = old
            merged = loaded.merge_and_unload().eval()
            expected[f"merged_logits_{tag}"] = logits(merged, rows)
            context.__exit__(None, None, None)
        base_logits = torch.tensor(cases[base]["logits_f64"], dtype=torch.float64)
        moved = (torch.tensor(expected["logits_f64"], dtype=torch.float64) - base_logits).abs().max().item()
        gap = np.abs(np.array(expected["logits_f64"]) - np.array(expected["merged_logits_f64"])).max()
        direct = np.abs(np.array(expected["logits_f32"]) - np.array(logits(model, rows))).max()
        if kind in SINGLE:
            expected["computed_in"] = "f32"
        closest = 1e-5 if kind in SINGLE else 1e-10
        assert moved > 0.1 and gap < closest and direct < 1e-5, (case, moved, gap, direct)
        tensors = load_file(folder / "adapter_model.safetensors")
        expected["tensors"] = {k: list(v.shape) for k, v in sorted(tensors.items())}
        write(folder / "expected.json", expected)
        print(f"{case}: logits move by {moved:.3f}, by LoRA alone {effect:.3f}, merged gap {gap:.1e}, {len(tensors)} tensors")


def token_cases():
    """case -> (base model, class, target modules)."""
    return {
        "bert": ("bert", hf.BertForTokenClassification, ["query", "value"]),
        "roberta": ("roberta", hf.RobertaForTokenClassification, ["query", "value"]),
        "distilbert": ("distilbert", hf.DistilBertForTokenClassification, ["q_lin", "v_lin"]),
        "albert": ("albert", hf.AlbertForTokenClassification, ["query", "value"]),
        "electra": ("electra", hf.ElectraForTokenClassification, ["query", "value"]),
        "mpnet": ("mpnet", hf.MPNetForTokenClassification, ["q", "v"]),
        "deberta_v3": ("deberta_v3", hf.DebertaV2ForTokenClassification, ["query_proj", "value_proj"]),
        "modernbert": ("modernbert", hf.ModernBertForTokenClassification, ["Wqkv"]),
    }


def mint_tokens(out, sets, only=()):
    cases = json.loads((out / "cases.json").read_text())["models"]
    for case, (base, cls, targets) in token_cases().items():
        if only and case not in only:
            continue
        folder, rows = out / "tokens" / case, sets[cases[base]["inputs"]]

        def plain():
            return cls.from_pretrained(out / "models" / base, dtype=torch.float32, attn_implementation="eager", num_labels=5,
                                       ignore_mismatched_sizes=True).eval()

        config = LoraConfig(task_type="TOKEN_CLS", r=3, lora_alpha=6, target_modules=targets)
        model = get_peft_model(plain(), config).eval()
        fill([(n, p) for n, p in model.named_parameters() if p.requires_grad], f"tokens/{case}")
        save_adapter(model, folder, base)
        expected = {"base": f"models/{base}", "inputs": cases[base]["inputs"]}
        for tag in ("f64", "f32"):
            loaded = PeftModel.from_pretrained(plain(), folder).eval()
            with precise(base, tag):
                loaded = widened(loaded, base) if tag == "f64" else loaded
                expected[f"logits_{tag}"] = [scores for row in rows for scores in logits(loaded, [row])[0]]
        write(folder / "expected.json", expected)
        print(f"{case}: {len(expected['logits_f64'])} tokens")


def traces():
    """case -> (name that seeds the first adapter, class of the configuration, its arguments)."""
    rank = dict(r=4, lora_alpha=8)
    return {
        "lora_bert": ("trace", LoraConfig, rank),
        "dora_bert": ("trace/dora", LoraConfig, dict(rank, use_dora=True)),
        "adalora_bert": ("trace/adalora", AdaLoraConfig, dict(
            init_r=5, target_r=2, tinit=6, tfinal=12, deltaT=4, total_step=50, lora_alpha=20, orth_reg_weight=0.1)),
    }


def mint_trace(out, case):
    seed, config, arguments = traces()[case]
    folder = out / "traces" / case
    shutil.rmtree(folder, ignore_errors=True)
    steps, batch_size, warmup, clip = 50, 8, 5, 1.0
    rates, decay = {"adapter": 1e-2, "head": 5e-3}, 0.01
    no_dropout = dict(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    base = load(out, "bert", False, **no_dropout)
    model = get_peft_model(base, config(task_type="SEQ_CLS", target_modules=["query", "value"], **arguments))
    # DoRA's magnitudes start at the norms of the base, where they start in training.
    drawn = [(n, p) for n, p in model.named_parameters() if p.requires_grad and "magnitude" not in n]
    fill(drawn, seed)
    with torch.no_grad():
        for n, p in drawn:
            if "lora_" in n:
                p.mul_(0.2)
    save_adapter(model, folder / "init", "bert")

    rng = generator("trace/data")
    rows = []
    for _ in range(40):
        label = int(rng.integers(0, 3))
        length = int(rng.integers(4, 25))
        inner = rng.integers(5, 99, length - 2)
        inner[rng.random(length - 2) < 0.3] = 10 + label  # a word that tells the label
        rows.append({"ids": [2, *inner.tolist(), 3], "label": label})

    model = PeftModel.from_pretrained(load(out, "bert", False, **no_dropout), folder / "init", is_trainable=True).double().train()
    trainable = {n: p for n, p in model.named_parameters() if p.requires_grad}
    groups = {
        "adapter": [p for n, p in trainable.items() if "lora_" in n],
        "head": [p for n, p in trainable.items() if "modules_to_save" in n],
    }
    assert sum(map(len, groups.values())) == len(trainable)
    # As the Trainer of transformers: biases (and norms, of which none is trained here) do not decay.
    plain = {id(p) for n, p in trainable.items() if n.endswith("bias")}
    parts = [(g, decays, [p for p in groups[g] if (id(p) not in plain) == decays]) for g in groups for decays in (True, False)]
    optimizer = torch.optim.AdamW([{"params": ps, "lr": rates[g], "weight_decay": decay if decays else 0.0} for g, decays, ps in parts if ps],
                                  betas=(0.9, 0.999), eps=1e-8)
    group_rates = [rates[g] for g, _, ps in parts if ps]
    losses, norms, factors = [], [], []
    allocates = hasattr(model.base_model, "update_and_allocate")
    for step in range(steps):
        start = step * batch_size % len(rows)
        part = rows[start : start + batch_size]
        width = max(len(r["ids"]) for r in part)
        ids = torch.tensor([r["ids"] + [0] * (width - len(r["ids"])) for r in part])
        mask = torch.tensor([[1] * len(r["ids"]) + [0] * (width - len(r["ids"])) for r in part])
        factor = schedule_factor(step, steps, warmup)
        for group, rate in zip(optimizer.param_groups, group_rates):
            group["lr"] = rate * factor
        loss = model(input_ids=ids, attention_mask=mask, labels=torch.tensor([r["label"] for r in part])).loss
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(trainable.values(), clip)
        optimizer.step()
        if allocates:
            model.base_model.update_and_allocate(step + 1)
        optimizer.zero_grad()
        losses.append(loss.item())
        norms.append(norm.item())
        factors.append(factor)
    print(f"{case}: loss {losses[0]:.4f} -> {losses[-1]:.4f}; {sum(n > clip for n in norms)} of {steps} steps clipped")
    save_file({k: v.clone() for k, v in _peft_state(model).items()}, folder / "final_f64.safetensors")
    rows_eval = input_sets()["bert"]
    final_logits = logits(model.eval(), rows_eval)
    save_adapter(model.float(), folder / "final", "bert")
    write(folder / "trace.json", {
        "base": "models/bert", "init": "init", "dropout": 0.0, "dtype": "float64",
        "data": rows, "batch_size": batch_size,
        "order": "step k (0-based) takes rows [8k mod 40, 8k mod 40 + 8), padded on the right to its longest row, masked; type ids 0",
        "steps": steps, "loss_kind": "cross entropy, mean over the batch",
        "optimizer": {"name": "AdamW", "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": decay,
                      "weight_decay_rule": "decoupled, p -= lr*wd*p before the step, on every trained tensor but biases, as the Trainer of transformers",
                      "learning_rate": rates},
        "schedule": {"kind": "linear", "warmup_steps": warmup,
                     "rule": "factor at 0-based step k of T: k/W for k < W, else (T-k)/(T-W); the first step has factor 0",
                     "factors": factors},
        "clip": {"max_norm": clip, "rule": "gradients of adapter and head together, times min(1, max_norm/(norm+1e-6))"},
        **({"allocation": "update_and_allocate(k + 1) after the optimizer's 0-based step k"} if allocates else {}),
        "losses": losses, "grad_norms_before_clip": norms,
        "final": "final (float32), final_f64.safetensors (float64, same names)",
        "final_logits_f64": final_logits, "final_inputs": "bert",
    })


def _peft_state(model):
    from peft import get_peft_model_state_dict

    return get_peft_model_state_dict(model)


SENTENCES = [
    ("A man is eating food.", "A man is eating a piece of bread.", 0.7553),
    ("A man is eating food.", "The girl is carrying a baby.", -0.1050),
]


def mint_minilm(out, folder):
    from textdata import tokenizer

    tok = tokenizer(folder, 512)
    model = hf.BertModel.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval().double()
    vectors, sentences = {}, []
    for text in dict.fromkeys(t for pair in SENTENCES for t in pair[:2]):
        ids = tok.encode(text).ids
        with torch.no_grad():
            hidden = model(input_ids=torch.tensor([ids]), attention_mask=torch.ones(1, len(ids), dtype=torch.long)).last_hidden_state
        vectors[text] = hidden[0].mean(0)
        sentences.append({"text": text, "ids": ids, "mean_pooled_first8_f64": vectors[text][:8].tolist(),
                          "mean_pooled_norm_f64": vectors[text].norm().item(), "cls_first8_f64": hidden[0, 0, :8].tolist()})
    pairs = []
    for a, b, known in SENTENCES:
        value = torch.nn.functional.cosine_similarity(vectors[a], vectors[b], dim=0).item()
        print(f"cos({a!r}, {b!r}) = {value:.6f}, data.md {known}")
        pairs.append({"a": a, "b": b, "cosine_f64": value, "data_md": known})
    write(out / "minilm.json", {
        "made_with": versions.installed(),
        "model_safetensors_sha256": hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest(),
        "pooling": "mean of last_hidden_state over all tokens incl. [CLS] and [SEP], no padding, not normalised",
        "sentences": sentences, "pairs": pairs})


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minilm", type=Path)
    parser.add_argument("--models", nargs="+")
    parser.add_argument("--adapters", nargs="+")
    parser.add_argument("--tokens", nargs="+")
    args = parser.parse_args()
    if args.models:
        mint_models(args.out, args.models)
    if args.adapters:
        mint_adapters(args.out, input_sets(), args.adapters)
    if args.tokens:
        mint_tokens(args.out, input_sets(), args.tokens)
    if args.models or args.adapters or args.tokens:
        return
    sets = mint_models(args.out)
    mint_distances(args.out)
    mint_adapters(args.out, sets)
    mint_tokens(args.out, sets)
    for case, arguments in offset_cases().items():
        mint_offset(args.out, sets, case, arguments)
    for case in traces():
        mint_trace(args.out, case)
    if args.minilm:
        mint_minilm(args.out, args.minilm)


if __name__ == "__main__":
    main()
