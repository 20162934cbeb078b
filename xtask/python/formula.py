"""Tiny causal models whose every weight is a formula, so that a test needs no file, and what transformers makes of them.

Vocabulary 32, width 16, feed-forward 24, 2 layers, 4 heads of 2 keys and values, 64 positions, eps 1e-6 unless a row says otherwise.
Parameters in byte order of their HF names (a tied head absent) are numbered k = 0, 1, …; the value at flat index i of the stored
layout is 0.3 sin(0.9 i + k) for matrices, 0.1 sin(0.5 i + k) for biases, 1 + 0.1 sin(0.5 i + k) for other vectors, without the 1 in
the gemma families, whose norms add it themselves.
"""

import torch
import transformers as hf

from precision import double

IDS = [1, 5, 9, 3, 30, 7, 7, 12]
COMMON = dict(vocab_size=32, hidden_size=16, intermediate_size=24, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
              max_position_embeddings=64, rms_norm_eps=1e-6, pad_token_id=0, bos_token_id=1, eos_token_id=2)
UNTIED = dict(COMMON, tie_word_embeddings=False)
TIED = dict(COMMON, tie_word_embeddings=True)
EPS = dict(rms_norm_eps=1e-5)
ROPE = dict(rope_type="default", rope_theta=10000.0)


def rows():
    """name -> (class, configuration, mean loss of the 7 targets, first 4 logits of the last row, sum of |logits|) of IDS."""
    llama3 = dict(rope_type="llama3", rope_theta=100.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=16)
    both = dict(full_attention=dict(ROPE, rope_theta=1e6), sliding_attention=dict(ROPE))
    long = dict(rope_type="longrope", rope_theta=10000.0, short_factor=[1.0, 1.5], long_factor=[2.0, 4.0], partial_rotary_factor=0.5,
                original_max_position_embeddings=4)
    neox = {k: v for k, v in UNTIED.items() if k not in ("num_key_value_heads", "rms_norm_eps")}
    gpt2 = dict(vocab_size=32, n_embd=16, n_inner=64, n_layer=2, n_head=4, n_positions=64, layer_norm_epsilon=1e-5, bos_token_id=1, eos_token_id=2)
    return {
        "llama": (hf.LlamaForCausalLM, hf.LlamaConfig(**{**UNTIED, **EPS}), 3.294647, [-.45691, -.71516, .82854, .28463], 151.4517),
        "llama_tied": (hf.LlamaForCausalLM, hf.LlamaConfig(**{**TIED, **EPS}, attention_bias=True, mlp_bias=True, rope_parameters=llama3),
                       3.406152, [-1.14342, .55916, .85286, -1.00233], 118.8861),
        "mistral": (hf.MistralForCausalLM, hf.MistralConfig(**{**UNTIED, **EPS}, sliding_window=3), 3.256959, [-.69995, -.81002, 1.12087, .22758], 140.8177),
        "qwen2": (hf.Qwen2ForCausalLM, hf.Qwen2Config(**TIED), 3.611758, [-1.00672, .33505, .83261, -.76770], 155.8097),
        "qwen3": (hf.Qwen3ForCausalLM, hf.Qwen3Config(**UNTIED, head_dim=8), 3.255803, [-.40213, -.57867, .70283, .21346], 120.5247),
        "gemma": (hf.GemmaForCausalLM, hf.GemmaConfig(**TIED, head_dim=8), 3.778124, [-1.05404, .08319, 1.01081, -.60844], 244.3870),
        "gemma2": (hf.Gemma2ForCausalLM, hf.Gemma2Config(**TIED, head_dim=8, sliding_window=3, query_pre_attn_scalar=16,
                                                         attn_logit_softcapping=5.0, final_logit_softcapping=3.0),
                   3.435388, [-.83320, .03619, .81581, -.46722], 174.1661),
        "gemma3_text": (hf.Gemma3ForCausalLM, hf.Gemma3TextConfig(**TIED, head_dim=8, sliding_window=3, query_pre_attn_scalar=8,
                                                                 layer_types=["sliding_attention", "full_attention"], rope_parameters=both),
                        3.693800, [-1.96322, .15643, 1.88193, -1.13435], 260.2929),
        "phi3": (hf.Phi3ForCausalLM, hf.Phi3Config(**{**UNTIED, **EPS}), 3.304510, [-.34838, -.80286, .76557, .40504], 118.9931),
        "phi3_longrope": (hf.Phi3ForCausalLM, hf.Phi3Config(**{**UNTIED, **EPS, "num_attention_heads": 2, "num_key_value_heads": 1},
                                                           original_max_position_embeddings=4, rope_parameters=long),
                          3.182116, [-.02420, -.14427, .09916, .09274], 87.1830),
        "gpt2": (hf.GPT2LMHeadModel, hf.GPT2Config(**gpt2), 5.093796, [-2.52872, 2.98382, .97823, -3.49214], 554.1960),
        "gpt_neox": (hf.GPTNeoXForCausalLM, hf.GPTNeoXConfig(**neox, layer_norm_eps=1e-5, rope_parameters=dict(ROPE, partial_rotary_factor=.5)),
                     3.352888, [-.28018, .02637, .26647, -.16484], 47.4713),
        "granite": (hf.GraniteForCausalLM, hf.GraniteConfig(**TIED, embedding_multiplier=12.0, residual_multiplier=.22, attention_multiplier=.125,
                                                           logits_scaling=4.0), 3.453231, [-.80966, .15121, .73108, -.53111], 133.4438),
        "smollm3": (hf.SmolLM3ForCausalLM, hf.SmolLM3Config(**TIED, no_rope_layers=[1, 0], rope_parameters=dict(ROPE, rope_theta=2e6)),
                    3.471517, [-.88530, .12060, .82263, -.54807], 150.7271),
    }


def value(name, shape, k, gemma):
    """The formula in double precision."""
    i = torch.arange(int(torch.tensor(shape).prod()), dtype=torch.float64).view(shape)
    if name.endswith("bias"):
        return 0.1 * torch.sin(0.5 * i + k)
    if len(shape) > 1:
        return 0.3 * torch.sin(0.9 * i + k)
    return (0.0 if gemma else 1.0) + 0.1 * torch.sin(0.5 * i + k)


def build(name):
    """The model of a row in single precision, its weights the formula's rounded."""
    cls, config = rows()[name][:2]
    config._attn_implementation = "eager"
    model = cls(config).eval()
    for k, (key, p) in enumerate(sorted(model.named_parameters())):
        with torch.no_grad():
            p.copy_(value(key, p.shape, k, name.startswith("gemma")))
    return model


def table():
    """Each row's numbers by transformers beside those above. Asserts that they agree: 2e-5, the sum 1e-3."""
    ids = torch.tensor([IDS])
    print(f"{'model':14} {'loss':>9} {'last row, logits 0..3':>38} {'sum':>9}  differences")
    for name, (_, _, loss, first, total) in rows().items():
        with torch.no_grad():
            output = build(name)(ids, labels=ids, use_cache=False)
        have = output.logits[0, -1, :4].tolist()
        gaps = abs(output.loss.item() - loss), max(abs(a - b) for a, b in zip(have, first)), abs(output.logits.abs().sum().item() - total)
        print(f"{name:14} {output.loss.item():9.6f} {' '.join(f'{x:9.5f}' for x in have)} {output.logits.abs().sum().item():9.4f}  "
              + " ".join(f"{g:.1e}" for g in gaps))
        assert gaps[0] < 2e-5 and gaps[1] < 2e-5 and gaps[2] < 1e-3, name


if __name__ == "__main__":
    table()
