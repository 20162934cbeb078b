"""random_model.py KIND SIZE FOLDER [f32]: writes a checkpoint of random weights in bf16, or in f32, and prints its folder and its
parameters.

KIND is bert (the shape of BERT-base), llama (of Llama 3.2 1B), mamba (four layers of mamba-130m), mamba-130m or mamba2-130m (the
shapes of those, with SmolLM2's vocabulary); SIZE is large, those shapes, or small, to see that it runs. A checkpoint of that shape
that is there already is used again.
"""

import json
import sys
from pathlib import Path

import torch
import transformers as hf

LARGE = {
    "bert": (hf.BertForSequenceClassification, hf.BertConfig, {}),
    "llama": (hf.LlamaForCausalLM, hf.LlamaConfig, {
        "vocab_size": 128256, "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "num_attention_heads": 32,
        "num_key_value_heads": 8, "head_dim": 64, "max_position_embeddings": 4096, "rms_norm_eps": 1e-5, "tie_word_embeddings": True}),
    "mamba": (hf.MambaForCausalLM, hf.MambaConfig, {"vocab_size": 8192, "hidden_size": 768, "num_hidden_layers": 4}),
    "mamba-130m": (hf.MambaForCausalLM, hf.MambaConfig, {"vocab_size": 49152, "hidden_size": 768, "num_hidden_layers": 24}),
    "mamba2-130m": (hf.Mamba2ForCausalLM, hf.Mamba2Config, {
        "vocab_size": 49152, "hidden_size": 768, "num_hidden_layers": 24, "num_heads": 24, "head_dim": 64, "n_groups": 1,
        "state_size": 128, "chunk_size": 64, "tie_word_embeddings": True}),
}
SMALL = {
    "bert": {"vocab_size": 512, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128},
    "llama": {"vocab_size": 512, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
              "num_key_value_heads": 2, "head_dim": 16},
    "mamba": {"vocab_size": 512, "hidden_size": 64, "num_hidden_layers": 2},
    "mamba-130m": {"hidden_size": 64, "num_hidden_layers": 2},
    "mamba2-130m": {"hidden_size": 64, "num_hidden_layers": 2, "num_heads": 4, "head_dim": 32},
}


def main():
    kind, size, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    dtype = torch.float32 if sys.argv[4:] == ["f32"] else torch.bfloat16
    model, config, shape = LARGE[kind]
    if size == "small":
        shape = {**shape, **SMALL[kind]}
    note = folder / "made.json"
    wanted = {"kind": kind, "size": size, "dtype": str(dtype), "shape": shape}
    # A model of another shape is of an older list above.
    if not note.is_file() or json.loads(note.read_text()).get("made") != wanted:
        torch.manual_seed(0)
        # On the GPU a billion random numbers take no time.
        device = "cuda" if torch.cuda.is_available() else "cpu"
        torch.set_default_dtype(dtype)
        with torch.device(device):
            made = model(config(**shape))
        made.save_pretrained(folder)
        note.write_text(json.dumps({"folder": str(folder), "parameters": sum(p.numel() for p in made.parameters()),
                                    "made": wanted}))
    print(note.read_text())


if __name__ == "__main__":
    main()
