#!/usr/bin/env python3
"""Mints tests/goldens/torch_bin: small files of both formats of torch.save, with the same tensors as safetensors. Deterministic.

    mint_torch_bin.py --out tests/goldens/torch_bin

OUT/expected.safetensors    every tensor of the state dict, contiguous
OUT/zip.bin                 the state dict as torch.save writes it
OUT/legacy.bin              the same as torch.save wrote it before 1.6
OUT/view.bin                legacy, with a storage view of PyTorch before 0.4: {"part": elements 2 to 6 of 0, 1, …, 7}
OUT/wrapped.bin             {"state_dict": …, "epoch": 3, "optimizer": …}
OUT/compressed.bin          zip.bin packed with deflate, which is not read
OUT/big.bin                 zip.bin with the byte order "big", which is not read
OUT/sharded/                pytorch_model.bin.index.json with a shard of each format
OUT/adapter/                adapter_model.bin
"""

import argparse
import io
import json
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path

import versions

versions.check()

import torch
from safetensors.torch import save_file


class Keys(str):
    """Stands for `str` in torch's legacy writer, whose storage keys are memory addresses otherwise."""

    seen = {}

    def __new__(cls, address):
        return str(cls.seen.setdefault(address, 1000 + len(cls.seen)))


def state_dict():
    """One tensor of each kind; `_metadata` comes with it, as from Module.state_dict()."""
    generator = torch.Generator().manual_seed(7)
    base = torch.randn(6, 5, generator=generator)
    cube = torch.arange(24, dtype=torch.int32).reshape(2, 3, 4)
    state = OrderedDict(
        f64=torch.tensor([1.5, -2.0e300], dtype=torch.float64),
        f32=base,
        f16=base[:2].to(torch.float16),
        bf16=base[2:4].to(torch.bfloat16),
        i64=torch.tensor([[1, -(2**62)]]),
        i32=cube,
        i16=torch.tensor([-3, 4], dtype=torch.int16),
        i8=torch.tensor([-128, 127, 0], dtype=torch.int8),
        u8=torch.tensor([0, 255], dtype=torch.uint8),
        bool=torch.tensor([True, False, True]),
        tied=base,
        rows=base[2:4],
        transposed=base.t(),
        sliced=base[1::2, 1:4],
        permuted=cube.permute(2, 0, 1),
        expanded=torch.tensor([7.0]).expand(3, 4),
        position_ids=torch.arange(5).expand((1, -1)),
        scalar=torch.tensor(2.5),
        empty=torch.empty(0, 3),
        parameter=torch.nn.Parameter(torch.ones(2, 2)),
        frozen=torch.nn.Parameter(torch.zeros(3).to(torch.bfloat16), requires_grad=False),
    )
    state["größe.weight"] = torch.tensor([1.0])
    state._metadata = OrderedDict([("", {"version": 1}), ("layer", {"version": 2})])
    return state


def legacy(value):
    buffer = io.BytesIO()
    Keys.seen = {}
    torch.serialization.str = Keys
    try:
        torch.serialization._legacy_save(value, buffer, pickle, 2)
    finally:
        del torch.serialization.str
    return buffer.getvalue()


def zipped(value):
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def repack(data, method=zipfile.ZIP_STORED, **replaced):
    """The same archive written by Python, entries replaced by name."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w", method) as new:
        for entry in old.infolist():
            content = replaced.get(entry.filename.split("/")[-1], old.read(entry))
            new.writestr(zipfile.ZipInfo(entry.filename), content, compress_type=method)
    return buffer.getvalue()


def storage_view():
    """A file with a storage view: PyTorch has not written one since 0.4, but still reads them."""
    saved = legacy({"part": torch.arange(8.0)})
    # The id ends with `elements, None`; the tensor's own shape and offset follow it.
    whole = b"K\x08Nt"
    assert saved.count(whole) == 1
    view = b"K\x08(X\x01\x00\x00\x00vK\x02K\x04tt"
    saved = saved.replace(whole, view)
    shape = b"K\x08\x85"
    assert saved.count(shape) == 1
    return saved.replace(shape, b"K\x04\x85")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    for folder in (out, out / "sharded", out / "adapter"):
        folder.mkdir(parents=True, exist_ok=True)
    state = state_dict()
    expected = {name: tensor.detach().clone().contiguous() for name, tensor in state.items()}
    save_file(expected, out / "expected.safetensors", metadata={"format": "pt"})
    files = {
        "zip.bin": zipped(state),
        "legacy.bin": legacy(state),
        "view.bin": storage_view(),
        "wrapped.bin": zipped({"epoch": 3, "lr": 0.1, "state_dict": state, "optimizer": {"state": {0: {"step": torch.tensor(1)}},
                               "param_groups": [{"lr": 0.1, "betas": (0.9, 0.999), "params": [0]}]}}),
        "sharded/pytorch_model-00001-of-00002.bin": zipped({n: state[n] for n in ("f32", "transposed")}),
        "sharded/pytorch_model-00002-of-00002.bin": legacy({n: state[n] for n in ("i64", "tied")}),
        "adapter/adapter_model.bin": zipped({f"base_model.model.l.q.lora_{n}.weight": state[k] for n, k in (("A", "rows"), ("B", "f32"))}),
    }
    files["compressed.bin"] = repack(files["zip.bin"], zipfile.ZIP_DEFLATED)
    files["big.bin"] = repack(files["zip.bin"], byteorder=b"big")
    for name, data in files.items():
        (out / name).write_bytes(data)
    weight_map = {n: f"pytorch_model-0000{s}-of-00002.bin" for n, s in (("f32", 1), ("transposed", 1), ("i64", 2), ("tied", 2))}
    index = {"metadata": {"total_size": 376}, "weight_map": weight_map}
    (out / "sharded/pytorch_model.bin.index.json").write_text(json.dumps(index, indent=2) + "\n")
    for name in ("zip.bin", "legacy.bin"):
        loaded = torch.load(out / name, weights_only=True)
        assert list(loaded) == list(expected)
        assert all(torch.equal(loaded[n], t) and loaded[n].dtype == t.dtype for n, t in expected.items()), name
    part = torch.load(out / "view.bin", weights_only=True)["part"]
    assert part.tolist() == [2, 3, 4, 5], part


if __name__ == "__main__":
    main()
