"""The tiny Mamba of mint_ssm.py: its weights, three adapters on it, and its forward pass twice: transformers' and the equations'."""

import torch
import torch.nn.functional as F
import transformers as hf

from mint_goldens import generator

LAYERS, CHANNELS, STATES, RANK, PLACES, LORA, SCALE = 2, 32, 4, 2, 12, 2, 1.5
SEQUENCES = [[1, 5, 9, 3, 30, 7, 7, 12], [4, 2], [(5 * i * i + 2 * i + 3) % 32 for i in range(17)], [11, 28, 6, 6, 19, 0, 31, 2, 14]]


def config():
    return hf.MambaConfig(vocab_size=32, hidden_size=16, state_size=STATES, num_hidden_layers=LAYERS, conv_kernel=4, expand=2,
                          time_step_rank=RANK, layer_norm_epsilon=1e-5, pad_token_id=0, bos_token_id=0, eos_token_id=0)


def draw(rng, *shape):
    return torch.from_numpy(rng.standard_normal(shape).astype("float32"))


def fill(model):
    """Steps of about 0.3, so that states keep for some tokens; A about -1, -2, -3, -4, as trained models start."""
    rng = generator("mamba_tiny")
    for name, p in sorted(model.named_parameters()):
        noise = draw(rng, *p.shape)
        if name.endswith("A_log"):
            value = torch.log(torch.arange(1, STATES + 1.0)) + 0.2 * noise
        elif name.endswith("dt_proj.bias"):
            value = 0.5 * noise - 1
        elif name.endswith((".D", "norm.weight", "norm_f.weight")):
            value = 1 + 0.2 * noise
        elif name.endswith("bias"):
            value = 0.1 * noise
        elif "embeddings" in name or "conv1d" in name or "dt_proj" in name:
            value = 0.5 * noise
        else:
            value = 0.3 * noise
        with torch.no_grad():
            p.copy_(value)


def load(out):
    return hf.MambaForCausalLM.from_pretrained(out / "mamba_tiny", dtype=torch.float32).eval()


def path(layer):
    return f"backbone.layers.{layer}.mixer"


def draw_adapters():
    rng, tensors = generator("mamba_tiny/adapters"), {}
    for layer in range(LAYERS):
        flat = sorted(rng.choice(CHANNELS * STATES, PLACES, replace=False).tolist())
        tensors[f"{path(layer)}.A_log.places"] = torch.tensor([[i // STATES, i % STATES] for i in flat])
        tensors[f"{path(layer)}.A_log.values"] = 0.5 * draw(rng, PLACES)
        tensors[f"{path(layer)}.dt_proj.bias"] = 0.3 * draw(rng, CHANNELS)
        tensors[f"{path(layer)}.out_proj.lora_A"] = 0.3 * draw(rng, LORA, CHANNELS)
        tensors[f"{path(layer)}.out_proj.lora_B"] = 0.3 * draw(rng, 16, LORA)
    return tensors


def adapt(state, adapters):
    """The base's tensors with what is added to A_log and to dt_proj's bias; LoRA is not merged."""
    state = dict(state)
    for layer in range(LAYERS):
        name = f"{path(layer)}.A_log"
        rows, columns = adapters[f"{name}.places"].T
        state[name] = state[name].index_put((rows, columns), adapters[f"{name}.values"], accumulate=True)
        name = f"{path(layer)}.dt_proj.bias"
        state[name] = state[name] + adapters[name]
    return state


def hooks(model, adapters):
    """LoRA on every out_proj."""
    def hook(a, b):
        return lambda module, inputs, output: output + SCALE * (inputs[0] @ a.T @ b.T)
    for layer in range(LAYERS):
        module = model.get_submodule(f"{path(layer)}.out_proj")
        a, b = (adapters[f"{path(layer)}.out_proj.lora_{x}"] for x in "AB")
        module.register_forward_hook(hook(a, b))
    return model


def logits(model, state=None):
    """Rows of all sequences; with `state`, of the model with those tensors in place of its own."""
    state = {} if state is None else state
    return torch.cat([torch.func.functional_call(model, state, (torch.tensor([ids]),), dict(use_cache=False)).logits[0] for ids in SEQUENCES])


def nll(rows):
    """-log p of each sequence's targets."""
    return [-r[:-1].log_softmax(-1).gather(1, torch.tensor(ids[1:])[:, None])[:, 0] for r, ids in zip(rows.split(list(map(len, SEQUENCES))), SEQUENCES)]


def losses(rows, tag):
    parts = nll(rows)
    return {f"losses_{tag}": [p.mean().item() for p in parts], f"loss_{tag}": torch.cat(parts).mean().item()}


def written_out(state, adapters=None):
    """The whole model from the equations, token by token, in the type of its tensors."""
    outputs = []
    for ids in SEQUENCES:
        h = state["backbone.embeddings.weight"][torch.tensor(ids)]
        for layer in range(LAYERS):
            w = {k.removeprefix(path(layer) + "."): v for k, v in state.items() if k.startswith(path(layer))}
            n = h * torch.rsqrt((h**2).mean(-1, keepdim=True) + 1e-5) * state[f"backbone.layers.{layer}.norm.weight"]
            x, z = (n @ w["in_proj.weight"].T).chunk(2, -1)
            before = torch.cat([torch.zeros(3, CHANNELS, dtype=x.dtype), x])
            x = F.silu(sum(w["conv1d.weight"][:, 0, k] * before[k : k + len(ids)] for k in range(4)) + w["conv1d.bias"])
            step, b, c = (x @ w["x_proj.weight"].T).split([RANK, STATES, STATES], -1)
            step = F.softplus(step @ w["dt_proj.weight"].T + w["dt_proj.bias"])
            s, rows = torch.zeros(CHANNELS, STATES, dtype=x.dtype), []
            for t in range(len(ids)):
                s = torch.exp(step[t, :, None] * -torch.exp(w["A_log"])) * s + (step[t] * x[t])[:, None] * b[t]
                rows.append(s @ c[t] + w["D"] * x[t])
            y = torch.stack(rows) * F.silu(z)
            h = h + y @ w["out_proj.weight"].T
            if adapters:
                h = h + SCALE * y @ adapters[f"{path(layer)}.out_proj.lora_A"].T @ adapters[f"{path(layer)}.out_proj.lora_B"].T
        n = h * torch.rsqrt((h**2).mean(-1, keepdim=True) + 1e-5) * state["backbone.norm_f.weight"]
        outputs.append(n @ state["backbone.embeddings.weight"].T)
    return torch.cat(outputs)
