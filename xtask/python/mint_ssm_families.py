#!/usr/bin/env python3
"""Mints fixtures of Mamba-2, FalconMamba and Jamba with Hugging Face transformers. Deterministic, on the CPU, its path without kernels.

    mint_ssm_families.py --out tests/goldens

OUT/mamba2_tiny/               HF folder (float32): 2 layers, width 16, 4 heads of 8 channels, 4 states, 2 groups, convolution of 4, bounded
                               steps, a head of its own, vocabulary 32
OUT/mamba2_plain/              the same with 1 group, unbounded steps and a tied head
OUT/falcon_mamba_tiny/         HF folder (float32) of the sizes of mamba_tiny, with norms of steps, B and C
OUT/jamba_tiny/                HF folder (float32): 4 layers by turns with a state space and with attention (4 heads, 2 of keys and values), without
                               experts, otherwise of the sizes of mamba_tiny, a feed-forward width of 24, a head of its own
OUT/ssm/families.json          sequences with their losses, by model; one is longer than a chunk of either implementation
OUT/ssm/<model>.safetensors    logits_f64, logits_f32 and, of every parameter, gradient_f64.<name>; of jamba_tiny score.weight, too, and with that as
                               its head the sequences' scores_f64

Numbers: as mint_ssm.py has them. The forward pass written out below from the equations, token by token, is asserted to give
transformers' logits; so is its own prefill in two parts followed by single steps, for Mamba-2 with unbounded steps (its single step
does not bound them), and one prefill followed by single steps for Jamba, whose state spaces forget in a second part what was before.
"""

import argparse
import os
import shutil
from contextlib import nullcontext
from pathlib import Path

import versions

versions.check()
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import torch.nn.functional as F
import transformers as hf
from safetensors.torch import save_file

from mint_goldens import generator, write
from precision import Double, double

torch.set_num_threads(1)
hf.logging.set_verbosity_error()
hf.utils.logging.disable_progress_bar()

LAYERS, STATES = 2, 4
SEQUENCES = [[1, 5, 9, 3, 30, 7, 7, 12], [4, 2], [(5 * i * i + 2 * i + 3) % 32 for i in range(77)], [11, 28, 6, 6, 19, 0, 31, 2, 14]]
SIZES = dict(vocab_size=32, hidden_size=16, state_size=STATES, num_hidden_layers=LAYERS, conv_kernel=4, expand=2, layer_norm_epsilon=1e-5,
             pad_token_id=0, bos_token_id=0, eos_token_id=0)
MODELS = {
    "mamba2_tiny": (hf.Mamba2ForCausalLM, lambda: hf.Mamba2Config(
        num_heads=4, head_dim=8, n_groups=2, chunk_size=8, time_step_limit=(0.1, 0.6), tie_word_embeddings=False, **SIZES)),
    "mamba2_plain": (hf.Mamba2ForCausalLM, lambda: hf.Mamba2Config(
        num_heads=4, head_dim=8, n_groups=1, chunk_size=8, tie_word_embeddings=True, **SIZES)),
    "falcon_mamba_tiny": (hf.FalconMambaForCausalLM, lambda: hf.FalconMambaConfig(
        time_step_rank=2, mixer_rms_eps=1e-4, tie_word_embeddings=False, **SIZES)),
    "jamba_tiny": (hf.JambaForCausalLM, lambda: hf.JambaConfig(
        vocab_size=32, hidden_size=16, intermediate_size=24, num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2,
        attn_layer_period=2, attn_layer_offset=1, num_experts=1, num_experts_per_tok=1, mamba_d_state=STATES, mamba_d_conv=4,
        mamba_expand=2, mamba_dt_rank=2, rms_norm_eps=1e-5, max_position_embeddings=128, tie_word_embeddings=False, pad_token_id=None,
        bos_token_id=0, eos_token_id=0)),
}


def fill(model, name):
    """Steps of about 0.3, so that states keep for some tokens."""
    rng = generator(name)
    for key, p in sorted(model.named_parameters()):
        noise = torch.from_numpy(rng.standard_normal(tuple(p.shape)).astype("float32"))
        if key.endswith("A_log"):
            start = torch.log(torch.arange(1, STATES + 1.0))
            value = start + 0.2 * noise
        elif key.endswith(("dt_proj.bias", "dt_bias")):
            value = 0.5 * noise - 1
        elif key.endswith((".D", "norm.weight", "norm_f.weight")):
            value = 1 + 0.2 * noise
        elif key.endswith("bias"):
            value = 0.1 * noise
        elif "embeddings" in key or "conv1d" in key or "dt_proj" in key:
            value = 0.5 * noise
        else:
            value = 0.3 * noise
        with torch.no_grad():
            p.copy_(value)


def logits(model):
    return torch.cat([model(torch.tensor([ids]), use_cache=False).logits[0] for ids in SEQUENCES])


def nll(rows):
    """-log p of each sequence's targets."""
    return [-r[:-1].log_softmax(-1).gather(1, torch.tensor(ids[1:])[:, None])[:, 0] for r, ids in zip(rows.split(list(map(len, SEQUENCES))), SEQUENCES)]


def rms(x, eps, weight=1.0):
    return x * torch.rsqrt((x**2).mean(-1, keepdim=True) + eps) * weight


def convolved(x, w):
    before = torch.cat([torch.zeros(3, x.shape[1], dtype=x.dtype), x])
    return F.silu(sum(w["conv1d.weight"][:, 0, k] * before[k : k + len(x)] for k in range(4)) + w["conv1d.bias"])


def falcon(w, n, config):
    return selective(w, n, config.time_step_rank, lambda part, _: rms(part, config.mixer_rms_eps))


def selective(w, n, rank, norm):
    x, z = (n @ w["in_proj.weight"].T).chunk(2, -1)
    x = convolved(x, w)
    parts = (x @ w["x_proj.weight"].T).split([rank, STATES, STATES], -1)
    step, b, c = (norm(part, name) for part, name in zip(parts, ("dt", "b", "c")))
    step = F.softplus(step @ w["dt_proj.weight"].T + w["dt_proj.bias"])
    s, rows = torch.zeros(x.shape[1], STATES, dtype=x.dtype), []
    for t in range(len(n)):
        s = torch.exp(step[t, :, None] * -torch.exp(w["A_log"])) * s + (step[t] * x[t])[:, None] * b[t]
        rows.append(s @ c[t] + w["D"] * x[t])
    return torch.stack(rows) * F.silu(z)


def mamba2(w, n, config):
    heads, width, groups = config.num_heads, config.head_dim, config.n_groups
    channels, wide = heads * width, groups * STATES
    z, xbc, step = (n @ w["in_proj.weight"].T).split([channels, channels + 2 * wide, heads], -1)
    x, b, c = convolved(xbc, w).split([channels, wide, wide], -1)
    step = F.softplus(step + w["dt_bias"]).clamp(*config.time_step_limit)
    s, rows = torch.zeros(heads, width, STATES, dtype=x.dtype), []
    for t in range(len(n)):
        heads_x = x[t].view(heads, width)
        bt, ct = (m[t].view(groups, STATES).repeat_interleave(heads // groups, 0) for m in (b, c))
        decay = torch.exp(step[t] * -torch.exp(w["A_log"]))
        s = decay[:, None, None] * s + (step[t][:, None] * heads_x)[:, :, None] * bt[:, None, :]
        rows.append((torch.einsum("hpn,hn->hp", s, ct) + w["D"][:, None] * heads_x).reshape(-1))
    y = torch.stack(rows) * F.silu(z)
    return rms(y.view(len(n), groups, -1), config.layer_norm_epsilon).reshape(len(n), -1) * w["norm.weight"]


def attention(w, n, config):
    """Without positions, softmax(q kᵀ / √width) v of each head."""
    heads, kv, length = config.num_attention_heads, config.num_key_value_heads, len(n)
    q, k, v = ((n @ w[f"{part}_proj.weight"].T).view(length, count, -1).transpose(0, 1) for part, count in (("q", heads), ("k", kv), ("v", kv)))
    k, v = (part.repeat_interleave(heads // kv, 0) for part in (k, v))
    scores = q @ k.transpose(1, 2) / q.shape[-1] ** 0.5
    scores = scores.masked_fill(torch.ones(length, length).triu(1).bool(), -torch.inf)
    return (scores.softmax(-1) @ v).transpose(0, 1).reshape(length, -1)


def jamba(state, config):
    """The whole model from the equations, as `written_out`."""
    eps, outputs = config.rms_norm_eps, []
    for ids in SEQUENCES:
        h = state["model.embed_tokens.weight"][torch.tensor(ids)]
        for layer in range(config.num_hidden_layers):
            w = {k.removeprefix(f"model.layers.{layer}."): v for k, v in state.items() if k.startswith(f"model.layers.{layer}.")}
            of = lambda part: {k.removeprefix(part): v for k, v in w.items() if k.startswith(part)}
            n = rms(h, eps, w["input_layernorm.weight"])
            if layer % 2:
                y = attention(of("self_attn."), n, config) @ w["self_attn.o_proj.weight"].T
            else:
                own = of("mamba.")
                norm = lambda part, name: rms(part, eps, own[f"{name}_layernorm.weight"])
                y = selective(own, n, config.mamba_dt_rank, norm) @ own["out_proj.weight"].T
            h = h + y
            n, wide = rms(h, eps, w["pre_ff_layernorm.weight"]), of("feed_forward.")
            h = h + (F.silu(n @ wide["gate_proj.weight"].T) * (n @ wide["up_proj.weight"].T)) @ wide["down_proj.weight"].T
        outputs.append(rms(h, eps, state["model.final_layernorm.weight"]) @ state["lm_head.weight"].T)
    return torch.cat(outputs)


def written_out(state, config):
    """The whole model from the equations, token by token, in the type of its tensors."""
    if config.model_type == "jamba":
        return jamba(state, config)
    block, outputs = mamba2 if config.model_type == "mamba2" else falcon, []
    for ids in SEQUENCES:
        h = state["backbone.embeddings.weight"][torch.tensor(ids)]
        for layer in range(LAYERS):
            path = f"backbone.layers.{layer}."
            w = {k.removeprefix(path + "mixer."): v for k, v in state.items() if k.startswith(path + "mixer.")}
            y = block(w, rms(h, 1e-5, state[path + "norm.weight"]), config)
            h = h + y @ w["out_proj.weight"].T
        head = state.get("lm_head.weight", state["backbone.embeddings.weight"])
        outputs.append(rms(h, 1e-5, state["backbone.norm_f.weight"]) @ head.T)
    return torch.cat(outputs)


def gap(a, b, most):
    found = (a - b).abs().max().item()
    assert found < most, found
    return found


def in_parts(model, parts):
    """The last sequence in parts and then token by token, beside the whole."""
    ids = torch.tensor(SEQUENCES[-1:])
    with torch.no_grad():
        whole = model(ids, use_cache=False).logits[0]
        output = model(ids[:, : parts[0]], use_cache=True)
        rows = [output.logits[0]]
        for start, end in zip(parts, parts[1:]):
            output = model(ids[:, start:end], cache=output.cache, use_cache=True)
            rows.append(output.logits[0])
        for at in range(parts[-1], ids.shape[1]):
            output = model(ids[:, at : at + 1], cache=output.cache, use_cache=True)
            rows.append(output.logits[0])
    return gap(torch.cat(rows), whole, 1e-12)


def scores(out):
    """A head of three scores on jamba_tiny, and what it gives."""
    model = hf.JambaForSequenceClassification.from_pretrained(out / "jamba_tiny", num_labels=3, dtype=torch.float32).eval()
    weight = torch.from_numpy(generator("jamba_tiny/score").standard_normal((3, 16)).astype("float32"))
    with torch.no_grad(), Double():
        model.score.weight.copy_(weight)
        model = double(model)
        return {"score.weight": weight, "scores_f64": torch.cat([model(torch.tensor([ids]), use_cache=False).logits for ids in SEQUENCES])}


def mint(out, name):
    kind, config = MODELS[name]
    shutil.rmtree(out / name, ignore_errors=True)
    model = kind(config())
    fill(model, name)
    model.save_pretrained(out / name)
    (out / name / "generation_config.json").unlink(missing_ok=True)
    entry, tensors = {}, {}
    for tag in ("f64", "f32"):
        model = kind.from_pretrained(out / name, dtype=torch.float32).eval()
        with Double() if tag == "f64" else nullcontext():
            model = double(model) if tag == "f64" else model
            rows = logits(model)
            state = {n: p.detach() for n, p in model.named_parameters()}
            apart = gap(rows, written_out(state, model.config), 1e-11 if tag == "f64" else 5e-5)
            if tag == "f64":
                torch.cat(nll(rows)).mean().backward()
                tensors |= {f"gradient_f64.{n}": p.grad for n, p in model.named_parameters()}
                if parts := {"mamba2_plain": [3, 6], "jamba_tiny": [3]}.get(name):
                    print(f"{name}: {in_parts(model, parts):.1e} in parts")
        tensors[f"logits_{tag}"] = rows.detach().contiguous()
        entry[f"losses_{tag}"] = [p.mean().item() for p in nll(rows)]
        entry[f"loss_{tag}"] = torch.cat(nll(rows)).mean().item()
    if name == "jamba_tiny":
        tensors |= scores(out)
    assert all(t.abs().max() > 1e-7 for t in tensors.values())
    save_file({k: v.contiguous() for k, v in tensors.items()}, out / f"ssm/{name}.safetensors")
    print(f"{name}: loss {entry['loss_f64']:.9f}, {apart:.1e} beside the equations in float32")
    return entry


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    (out / "ssm").mkdir(parents=True, exist_ok=True)
    entries = {name: mint(out, name) for name in MODELS}
    write(out / "ssm/families.json", {"made_with": versions.installed(), "sequences": SEQUENCES} | entries)


if __name__ == "__main__":
    main()
