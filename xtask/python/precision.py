"""Double precision all through: what `model.double()` alone does not give."""

import torch
from torch.overrides import TorchFunctionMode


class Double(TorchFunctionMode):
    """Inside, whoever asks for single precision gets double.

    transformers casts to float32 inside its models whatever their type (root mean square norms, softmax, rotary angles, the
    selective scan, the loss), so that a model in double is exact to 1e-7 only.
    """

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function is torch.Tensor.float:
            function = torch.Tensor.double
        return function(*map(_wider, args), **{k: _wider(v) for k, v in (kwargs or {}).items()})


def _wider(value):
    return torch.float64 if value is torch.float32 else value


def double(model):
    """The model in double precision, its rotary frequencies computed anew. To be called inside `Double`."""
    model.double()
    for name, module in list(model.named_modules()):
        if type(module).__name__.endswith("RotaryEmbedding"):
            model.set_submodule(name, type(module)(module.config))
            buffers = [b.dtype for b in model.get_submodule(name).buffers()]
            assert all(b == torch.float64 for b in buffers), (name, buffers)
    return model
