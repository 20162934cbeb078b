#!/usr/bin/env python3
"""Mints a training trace of LoCA (2502.06820) from the paper's equations, in PyTorch and float64. Deterministic, on the CPU.

    mint_loca.py --out tests/goldens/spectral

OUT/loca.safetensors  float64: weight [out, in], x [batches, rows, in], target [batches, rows, out], locations.0 [2, n] (where they start;
                      the coefficients start at zero); after step t the parameters coefficients [steps, n] and locations [steps, 2, n];
                      before it losses [steps] and the gradients coefficients.grad, locations.grad, zero where nothing is trained;
                      delta, the update after the last step
OUT/loca.json         the settings

One linear layer y = x (W0 + dW)^T, loss mean((y - target)^2), step t on batch t mod batches. What each part mirrors:

    update        Eq. 1: dW = alpha C_out^T S(a, l) C_in with orthonormal DCT-II matrices; S is zero but for the coefficients a at their
                  locations l, those that meet add up (the authors scatter into a sparse matrix, whose duplicates are summed). The
                  authors compute the DCT matrix in float32 whatever the model's type; here it is float64.
    cells         The authors store locations as shares, uniform in [0, 1) at the start; the cell is round(clamp(share, 0, 0.999) (side - 1)),
                  ties to even. Ours clamps at 1: the same cell on sides of up to 500, as here; on wider ones their last frequencies are never
                  reached. The gradient of the clamp is zero outside of it, as autograd has it.
    gradients     Section 4.3, with K = C_out G C_in^T of the gradient G of the update before its factor alpha, that is alpha dL/dW:
                  dL/da_l = K[u, v];  dL/du_l = a_l / 2 (K[u + 1, v] - K[u - 1, v]), dL/dv_l alike, indices clamped at the borders, and
                  then (side - 1) for the share. The authors bound the difference quotient by 1 in magnitude before that last factor;
                  ours has no such bound, and the trace is one where it never acts (asserted).
    schedule      Section 4.4: below `learn` steps, cycles of 10 steps on the coefficients and 20 on the locations; after them the
                  coefficients alone. The authors switch requires_grad, so that the optimiser skips what has no gradient: its moments
                  and its count of steps stand still.
    optimiser     torch.optim.AdamW over two groups, as the authors train; no weight decay, no warm-up, no clipping.
"""

import argparse
import hashlib
import json
from pathlib import Path

import versions

versions.check()

import numpy as np
import torch
from safetensors.numpy import save_file

torch.set_num_threads(1)
OUT, IN, COUNT, ROWS, BATCHES = 9, 14, 7, 6, 4
STEPS, LEARN, CYCLE, COEFFICIENT_STEPS = 45, 36, 30, 10
ALPHA, RATE, LOCATION_RATE = 2.0, 0.06, 0.2


def random(name, *shape):
    key = int.from_bytes(hashlib.sha256(f"loca {name}".encode()).digest()[:8], "little")
    return np.random.Generator(np.random.PCG64(key)).standard_normal(shape)


def dct_matrix(n):
    """Row k: s_k cos(pi k (2j + 1) / 2n), s_0 = sqrt(1/n), else sqrt(2/n)."""
    k, j = torch.arange(n, dtype=torch.float64)[:, None], torch.arange(n, dtype=torch.float64)[None]
    matrix = torch.cos(torch.pi * k * (2 * j + 1) / (2 * n)) * (2 / n) ** 0.5
    matrix[0] /= 2**0.5
    return matrix


C_OUT, C_IN = dct_matrix(OUT), dct_matrix(IN)
SIDES = torch.tensor([[OUT - 1.0], [IN - 1.0]], dtype=torch.float64)
bound = 0.0


class Update(torch.autograd.Function):
    """Eq. 1 without its factor, and the gradients of Section 4.3; `at` is in cells, not rounded."""

    @staticmethod
    def forward(ctx, a, at):
        u, v = at.round().long()
        ctx.save_for_backward(a, u, v)
        spectrum = torch.zeros(OUT, IN, dtype=torch.float64)
        spectrum.index_put_((u, v), a, accumulate=True)
        return C_OUT.T @ spectrum @ C_IN

    @staticmethod
    def backward(ctx, gradient):
        global bound
        a, u, v = ctx.saved_tensors
        k = C_OUT @ gradient @ C_IN.T
        up, down = (u + 1).clamp(max=OUT - 1), (u - 1).clamp(min=0)
        right, left = (v + 1).clamp(max=IN - 1), (v - 1).clamp(min=0)
        along = torch.stack([a / 2 * (k[up, v] - k[down, v]), a / 2 * (k[u, right] - k[u, left])])
        bound = max(bound, along.abs().max().item())
        return k[u, v], along


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    weight = torch.from_numpy(random("weight", OUT, IN)) * 0.3
    x = torch.from_numpy(random("x", BATCHES, ROWS, IN))
    # Targets that a few low frequencies explain in part, so that locations have somewhere to go.
    spectrum = torch.zeros(OUT, IN, dtype=torch.float64)
    spectrum[:4, :4] = torch.from_numpy(random("spectrum", 4, 4))
    target = x @ (weight + C_OUT.T @ spectrum @ C_IN).T + 0.1 * torch.from_numpy(random("noise", BATCHES, ROWS, OUT))
    start = np.random.Generator(np.random.PCG64(2502)).random((2, COUNT))
    start[:, -1] = start[:, -2]  # two coefficients of one cell
    a = torch.nn.Parameter(torch.zeros(COUNT, dtype=torch.float64))
    shares = torch.nn.Parameter(torch.from_numpy(start.copy()))
    # Ours has one rate in units of the weight: that of the coefficients is divided by alpha.
    optimizer = torch.optim.AdamW([{"params": [a], "lr": RATE / ALPHA}, {"params": [shares], "lr": RATE * LOCATION_RATE}],
                                  weight_decay=0.0)
    seen = {name: [] for name in ["losses", "coefficients", "coefficients.grad", "locations", "locations.grad"]}
    cells, stopped = [], 0
    for step in range(STEPS):
        learning = step < LEARN and step % CYCLE >= COEFFICIENT_STEPS
        a.requires_grad_(not learning)
        shares.requires_grad_(learning)
        optimizer.zero_grad(set_to_none=True)
        at = shares.clamp(0, 0.999) * SIDES
        with torch.no_grad():
            cells.append(at.round())
            assert torch.equal(at.round(), (shares.clamp(0, 1) * SIDES).round())
            assert not ((shares > 0.999) & (shares <= 1)).any(), "a location that only one of the clamps stops"
            stopped += int(learning and ((shares < 0) | (shares > 1)).any())
            fraction = (at - at.floor() - 0.5).abs()
            assert fraction.min() > 1e-6, "a location so close to the border of its cell that rounding decides"
        batch = step % BATCHES
        y = x[batch] @ (weight + ALPHA * Update.apply(a, at)).T
        loss = (y - target[batch]).square().mean()
        loss.backward()
        zero = lambda p: torch.zeros_like(p) if p.grad is None else p.grad.clone()
        seen["losses"].append(loss.detach())
        seen["coefficients.grad"].append(zero(a))
        seen["locations.grad"].append(zero(shares))
        optimizer.step()
        seen["coefficients"].append(a.detach().clone())
        seen["locations"].append(shares.detach().clone())
    moved = sum(not torch.equal(now, before) for now, before in zip(cells[1:], cells))
    assert bound < 1, bound
    assert moved >= 5 and stopped >= 1, (moved, stopped)
    delta = ALPHA * Update.apply(a, shares.clamp(0, 0.999) * SIDES).detach()
    tensors = {name: torch.stack(values) for name, values in seen.items()}
    tensors |= {"weight": weight, "x": x, "target": target, "locations.0": torch.from_numpy(start), "delta": delta}
    save_file({name: np.ascontiguousarray(value.numpy()) for name, value in tensors.items()}, arguments.out / "loca.safetensors")
    settings = dict(alpha=ALPHA, learning_rate=RATE, location_rate=LOCATION_RATE, steps=STEPS, learn_steps=LEARN,
                    coefficient_steps=COEFFICIENT_STEPS, location_steps=CYCLE - COEFFICIENT_STEPS)
    (arguments.out / "loca.json").write_text(json.dumps(settings, indent=1) + "\n")
    print(f"loss {seen['losses'][0]:.4f} -> {seen['losses'][-1]:.4f}; cells changed after {moved} steps; largest quotient {bound:.3f}; "
          f"{stopped} steps with a location outside")


if __name__ == "__main__":
    main()
