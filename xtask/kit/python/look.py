"""Prints what PyTorch's side of the kit has, as JSON. What cannot be imported shows here, not in the middle of a comparison."""

import json

import peft
import safetensors
import tokenizers
import torch
import transformers

there = torch.cuda.is_available()
print(json.dumps({
    **{module.__name__: module.__version__ for module in (torch, transformers, peft, safetensors, tokenizers)},
    "cuda": torch.version.cuda, "cuda_available": there, "gpu": torch.cuda.get_device_name() if there else None,
    "bf16": torch.cuda.is_bf16_supported() if there else None,
}))
