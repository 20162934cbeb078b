#!/usr/bin/env python3
"""Mints the fixtures of peft-spectral with SciPy, PyTorch and Hugging Face PEFT. Deterministic, on the CPU.

    mint_spectral.py --out tests/goldens/spectral [--tables crates/peft-spectral/src/transform/wavelet_tables.rs]

OUT/transforms.safetensors  float64: <case>.x, its scipy.fft.dctn(norm="ortho") <case>.dct, its separable Hartley transform <case>.dht
                            and the real part of its unitary DFT <case>.dft
OUT/selection.json          sDCTFT supports of <case>.x of the above, by plain Python over exact fractions
OUT/randperm.json           torch.randperm: total, seed, the first places, and the SHA-256 of the first 1000 (fewer if total is less) as
                            little-endian int64
OUT/adapters.safetensors    per case <case>.spectrum or <case>.kernel and <case>.delta (PEFT's get_delta_weight); WaveFT in float64
                            (the model in double), FourierFT and C3A in float32, as PEFT computes them whatever the model's type.
                            C3A also .x, .y (the layer's output without its base), .g, .dw (PEFT's backward), .dx (autograd through
                            the delta weight, for PEFT's own input gradient is not the derivative of its forward)
OUT/adapters.json           the settings of each, and how far PEFT's C3A input gradient is from the derivative

--tables writes the wavelets' taps as PEFT's wavelet.py gives them, but for coif5, which is broken there. Takes two minutes, most of
them in the two largest permutations, and 4 GB.
"""

import argparse
import hashlib
import json
from fractions import Fraction
from pathlib import Path

import versions

versions.check()

import numpy as np
import scipy.fft
import torch
from peft import C3AConfig, FourierFTConfig, WaveFTConfig, get_peft_model
from peft.tuners.c3a.utils import BlockCircularConvolution
from peft.tuners.waveft import wavelet as peft_wavelet
from peft.tuners.waveft.constants import WAVELET_REDUCTIONS
from safetensors.numpy import save_file

torch.set_num_threads(1)
MASK = (1 << 64) - 1
SHAPES = {"square": (12, 12), "oblong": (10, 21), "odd": (9, 7), "prime": (13, 11), "row": (1, 16), "column": (5, 1), "one": (1, 1)}


def rng(name):
    return np.random.Generator(np.random.PCG64(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")))


def write(path, value):
    """One line per case."""
    if isinstance(value, dict):
        body = ",\n".join(f"{json.dumps(name)}: {json.dumps(case)}" for name, case in value.items())
        path.write_text(f"{{\n{body}\n}}\n")
    else:
        path.write_text("[\n" + ",\n".join(json.dumps(case) for case in value) + "\n]\n")


def transforms():
    out = {}
    for name, shape in SHAPES.items():
        x = rng(f"transform {name}").standard_normal(shape)
        out[f"{name}.x"] = x
        out[f"{name}.dct"] = scipy.fft.dctn(x, norm="ortho")
        along = np.fft.fft(x, axis=1, norm="ortho")
        along = np.fft.fft(along.real - along.imag, axis=0, norm="ortho")
        out[f"{name}.dht"] = along.real - along.imag
        out[f"{name}.dft"] = np.fft.fft2(x, norm="ortho").real
    return {name: np.ascontiguousarray(value) for name, value in out.items()}


def word(key, index):
    """Output `index` of SplitMix64 seeded with `key`."""
    z = (key + (index + 1) * 0x9E3779B97F4A7C15) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def squared_distance(u, v, m, n, metric):
    if metric == "centre":
        u, v = u - m // 2, v - n // 2
    if metric == "normalized":
        return Fraction(u, max(m - 1, 1)) ** 2 + Fraction(v, max(n - 1, 1)) ** 2
    return Fraction(u) ** 2 + Fraction(v) ** 2


def hierarchical(spectrum, count, bands, share, metric, reach, key):
    """Section 2.3 of the specification: `share` is a Fraction."""
    m, n = spectrum.shape
    cells = [(u, v) for u in range(m) for v in range(n)]
    distance = {cell: squared_distance(*cell, m, n, metric) for cell in cells}
    if reach == "grid":
        largest = max(distance.values())
    elif metric == "normalized":
        largest = (Fraction(int(m > 1)) + Fraction(int(n > 1))) / 4
    else:
        largest = Fraction(m, 2) ** 2 + Fraction(n, 2) ** 2
    members = [[] for _ in range(bands)]
    for cell in cells:
        # d <= (i + 1) / bands * d_max, squared
        band = next((i for i in range(bands - 1) if distance[cell] * bands**2 <= largest * (i + 1) ** 2), bands - 1)
        members[band].append(cell)
    wanted = [count // bands + (i < count % bands) for i in range(bands)]
    budget, spill = [0] * bands, 0
    for i in list(range(bands)) * 2:
        ask = wanted[i] + spill
        wanted[i] = 0
        taken = min(ask, len(members[i]) - budget[i])
        budget[i] += taken
        spill = ask - taken
    chosen = []
    for cells, size in zip(members, budget):
        by_energy = sorted(cells, key=lambda c: (-abs(spectrum[c]), c[0] * n + c[1]))
        strong = by_energy[: int(share * size)]
        rest = sorted(set(cells) - set(strong), key=lambda c: word(key, c[0] * n + c[1]))
        chosen += strong + rest[: size - len(strong)]
    assert len(set(chosen)) == count
    return [len(c) for c in members], sorted(chosen)


def selections(data):
    out = []
    cases = [
        ("square", 30, 3, "7/10", "corner", "grid"),
        ("oblong", 100, 3, "7/10", "corner", "grid"),
        ("oblong", 40, 3, "7/10", "normalized", "grid"),
        ("odd", 17, 4, "1/2", "corner", "grid"),
        ("prime", 50, 3, "7/10", "corner", "paper"),
        ("prime", 140, 3, "7/10", "normalized", "paper"),
        ("odd", 20, 3, "7/10", "centre", "paper"),
        ("square", 144, 3, "1/5", "centre", "grid"),
        ("row", 5, 3, "1", "corner", "grid"),
        ("column", 3, 2, "0", "normalized", "grid"),
        ("one", 1, 3, "7/10", "corner", "grid"),
    ]
    for index, (case, count, bands, share, metric, reach) in enumerate(cases):
        key = word(2025, index)
        spectrum = data[f"{case}.dct"]
        populations, entries = hierarchical(spectrum, count, bands, Fraction(share), metric, reach, key)
        out.append(dict(case=case, count=count, bands=bands, share=float(Fraction(share)), metric=metric, reach=reach,
                        key=str(key), populations=populations, entries=entries))
    return out


def randperms():
    cases = [(10, 0), (1, 3), (2, 5), (768 * 768, 777), (4096 * 4096, 777), (1024 * 4096, 777), (768 * 768, 2024), (1000, 2**40 + 5),
             (214748363, 777), (16384 * 14336, 777)]
    out = []
    for total, seed in cases:
        drawn = torch.randperm(total, generator=torch.Generator().manual_seed(seed))[:1000].numpy().astype("<i8")
        out.append(dict(total=total, seed=seed, count=len(drawn), first=drawn[:12].tolist(),
                        sha256=hashlib.sha256(drawn.tobytes()).hexdigest()))
    return out


def layer(config, m, n, double=False):
    model = torch.nn.Sequential(torch.nn.Linear(n, m, bias=False))
    torch.manual_seed(0)
    model = get_peft_model(model, config)
    module = model.base_model.model[0]
    return module.double() if double else module


def fill(parameter, name):
    values = torch.from_numpy(rng(name).standard_normal(tuple(parameter.shape))).to(parameter.dtype)
    with torch.no_grad():
        parameter.copy_(values)
    return values.numpy()


def adapters():
    tensors, settings = {}, {}
    for name, m, n, count, seed, scaling in [("fourier_square", 8, 8, 20, 777, 150.0), ("fourier_oblong", 6, 10, 60, 777, 300.0),
                                             ("fourier_odd", 7, 9, 31, 2024, 49.0), ("fourier_one", 5, 3, 1, 1, 1.0)]:
        module = layer(FourierFTConfig(target_modules=["0"], n_frequency=count, random_loc_seed=seed, scaling=scaling), m, n)
        tensors[f"{name}.spectrum"] = fill(module.fourierft_spectrum["default"], name)
        tensors[f"{name}.delta"] = module.get_delta_weight("default").detach().numpy()
        settings[name] = dict(method="fourierft", out=m, **{"in": n}, seed=seed, scaling=scaling)
    for name, m, n, count, wavelet in [("wave_square", 8, 8, 64, "db1"), ("wave_odd", 7, 5, 35, "db1"), ("wave_db2", 8, 6, 48, "db2"),
                                       ("wave_db4", 9, 12, 40, "db4"), ("wave_sym4", 7, 7, 49, "sym4"), ("wave_coif1", 6, 11, 30, "coif1"),
                                       ("wave_coif4", 5, 6, 30, "coif4"), ("wave_db10", 24, 30, 100, "db10"), ("wave_none", 6, 5, 9, None)]:
        config = WaveFTConfig(target_modules=["0"], n_frequency=count, random_loc_seed=777, scaling=25.0, wavelet_family=wavelet or "db1",
                              use_idwt=wavelet is not None)
        module = layer(config, m, n, double=True)
        tensors[f"{name}.spectrum"] = fill(module.waveft_spectrum["default"], name)
        tensors[f"{name}.delta"] = module.get_delta_weight("default").detach().contiguous().numpy()
        settings[name] = dict(method="waveft", out=m, **{"in": n}, seed=777, scaling=25.0, wavelet=wavelet)
    for name, m, n, block in [("c3a_even", 8, 12, 4), ("c3a_odd", 10, 5, 5), ("c3a_whole", 6, 6, 6), ("c3a_one", 3, 4, 1)]:
        module = layer(C3AConfig(target_modules=["0"], block_size=block), m, n)
        kernel = module.c3a_kernel["default"]
        tensors[f"{name}.kernel"] = fill(kernel, name)
        delta = module.get_delta_weight("default").detach()
        x = torch.from_numpy(rng(f"{name} x").standard_normal((3, n))).float().requires_grad_()
        g = torch.from_numpy(rng(f"{name} g").standard_normal((3, m))).float()
        y = BlockCircularConvolution.apply(x, kernel) / n
        kernel.grad = None
        y.backward(g)
        dx = g @ delta
        for key, value in dict(delta=delta, x=x, y=y, g=g, dw=kernel.grad, dx=dx).items():
            tensors[f"{name}.{key}"] = value.detach().contiguous().numpy()
        settings[name] = dict(method="c3a", out=m, **{"in": n}, block=block,
                              peft_input_gradient_error=round(float((x.grad - dx).abs().max() / dx.abs().max()), 6))
    return tensors, settings


def tables(path):
    lines = [
        "//! Low-pass synthesis taps. Written by `xtask/python/mint_spectral.py --tables`; do not edit.",
        "//!",
        "//! From PyWavelets, through Hugging Face PEFT. Copyright (c) 2006-2012 Filip Wasilewski,",
        "//! 2012- The PyWavelets Developers; MIT licence.",
        "",
        "#[rustfmt::skip]",
        "#[expect(clippy::approx_constant, reason = \"a tap that happens to be 1/sqrt(2)\")]",
        "pub(crate) const TABLES: &[(&str, &[f64])] = &[",
    ]
    for name in peft_wavelet._WAVELET_COEFFS:
        if len(peft_wavelet.Wavelet(name)) != WAVELET_REDUCTIONS[name][0] + 2:
            continue  # coif5: PEFT has 48 taps where there are 30, and its layers come out too small
        taps = [repr(float(tap)) for tap in peft_wavelet.Wavelet(name).rec_lo]
        lines.append(f'    ("{name}", &[')
        lines += [f"        {', '.join(taps[i : i + 4])}," for i in range(0, len(taps), 4)]
        lines.append("    ]),")
    Path(path).write_text("\n".join([*lines, "];", ""]))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tables")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    if arguments.tables:
        tables(arguments.tables)
    data = transforms()
    save_file(data, arguments.out / "transforms.safetensors")
    write(arguments.out / "selection.json", selections(data))
    tensors, settings = adapters()
    save_file(tensors, arguments.out / "adapters.safetensors")
    write(arguments.out / "adapters.json", settings)
    write(arguments.out / "randperm.json", randperms())


if __name__ == "__main__":
    main()
