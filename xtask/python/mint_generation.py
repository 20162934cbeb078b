#!/usr/bin/env python3
"""Mints what Hugging Face transformers generates with tiny models. Deterministic, on the CPU.

    mint_generation.py --out tests/goldens

OUT/generation.json
  greedy   of every model of formula.py and of OUT/mamba_tiny: prompts, and the ids that `generate` appends to each by itself without draws,
           float32, attention "eager", with `settings` of a generation_config.json; no token ends a text. `margins` are the least differences
           of the two highest scores on the way: ids are cut before the first step where it is below 1e-4, five times what logits of two
           implementations differ by.
  scores   what the logits processors that transformers makes of `settings` give for `scores` behind `ids` (null is -infinity).
"""

import argparse
import os
from pathlib import Path

import versions

versions.check()
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import transformers as hf

import formula
from mint_goldens import generator, write

torch.set_num_threads(1)
hf.logging.set_verbosity_error()

# The third is as short as a prompt can be; the second crosses phi3_longrope's switch at 4 tokens.
PROMPTS = [formula.IDS, [4, 4, 19], [2]]
TOKENS = 24
MARGIN = 1e-4
PLAIN = {}
PENALTY = dict(repetition_penalty=1.3, no_repeat_ngram_size=3)
SETTINGS = [
    dict(repetition_penalty=1.3),
    dict(no_repeat_ngram_size=2),
    dict(do_sample=True, top_k=0, temperature=0.7),
    dict(do_sample=True, top_k=5),
    dict(do_sample=True, top_k=0, top_p=0.8),
    dict(do_sample=True, top_k=0, min_p=0.2),
    dict(do_sample=True, repetition_penalty=1.1, no_repeat_ngram_size=3, temperature=1.4, top_k=12, top_p=0.9, min_p=0.05),
    dict(do_sample=True, top_k=0, typical_p=0.6),
    dict(do_sample=True, top_k=0, epsilon_cutoff=0.02),
    dict(do_sample=True, top_k=0, eta_cutoff=0.3),
    dict(do_sample=True, top_k=0, eta_cutoff=0.001),
    dict(suppress_tokens=[3, 7]),
    dict(do_sample=True, temperature=1.2, top_k=30, top_p=0.95, min_p=0.01, typical_p=0.9, epsilon_cutoff=0.001, eta_cutoff=0.002),
]


def greedy(model, prompt, settings):
    """Ids up to the first step whose two highest scores are too near, and the least difference before it."""
    config = hf.GenerationConfig(max_new_tokens=TOKENS, do_sample=False, eos_token_id=None, pad_token_id=0, **settings)
    with torch.no_grad():
        made = model.generate(torch.tensor([prompt]), attention_mask=torch.ones(1, len(prompt), dtype=torch.long), generation_config=config,
                              return_dict_in_generate=True, output_scores=True)
    ids = made.sequences[0, len(prompt):].tolist()
    margins = [(top := scores[0].topk(2).values)[0].item() - top[1].item() for scores in made.scores]
    keep = next((step for step, margin in enumerate(margins) if margin < MARGIN), TOKENS)
    return ids[:keep], min(margins[:keep], default=None)


def models(out):
    for name in formula.rows():
        yield name, formula.build(name)
    yield "mamba_tiny", hf.AutoModelForCausalLM.from_pretrained(out / "mamba_tiny", dtype=torch.float32).eval()


def mint_greedy(out):
    cases = []
    for name, model in models(out):
        model.generation_config = hf.GenerationConfig()
        for settings in (PLAIN, PENALTY):
            made = [greedy(model, prompt, settings) for prompt in PROMPTS]
            cases.append({"model": name, "settings": settings, "prompts": PROMPTS, "ids": [ids for ids, _ in made], "margins": [m for _, m in made]})
            print(f"{name:14} {'penalty' if settings else 'plain':8}", *(f"{len(ids)} tokens, margin {m or 0:.4f};" for ids, m in made))
    return cases


def mint_scores():
    """Scores of a vocabulary of 40, behind 12 tokens."""
    host = formula.build("llama")
    rng = generator("generation")
    cases = []
    for settings in SETTINGS:
        scores = torch.from_numpy(rng.standard_normal(40).astype("float32")) * 3
        ids = torch.from_numpy(rng.integers(0, 12, 12))
        config = hf.GenerationConfig(**settings, eos_token_id=None)
        config, _ = host._prepare_generation_config(config)
        processors = host._get_logits_processor(config, input_ids_seq_length=12)
        after = processors(ids[None], scores[None].clone())[0]
        cases.append({"settings": settings, "ids": ids.tolist(), "scores": scores.tolist(),
                      "processed": [None if x == float("-inf") else x for x in after.tolist()]})
        print("scores", settings, int(after.isfinite().sum()), "kept")
    return cases


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    write(out / "generation.json", {"greedy": mint_greedy(out), "scores": mint_scores()})


if __name__ == "__main__":
    main()
