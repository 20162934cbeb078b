#!/usr/bin/env python3
"""Makes the tokenizer of the models that `cargo xtask pretrain` trains: a byte-level BPE of 1,024 tokens.

    train_tokenizer.py --text ~/.cache/peft/pretrain/corpus/fit.txt --out tests/pretrained/tokenizer.json

Id 0 is <|endoftext|>, ids 1 to 256 are the bytes, and the rest are merges in the order of their frequency in the text; words are parted as
GPT-2 parts them. Deterministic.
"""

import argparse
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1024,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train([str(arguments.text)], trainer)
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(arguments.out))


if __name__ == "__main__":
    main()
