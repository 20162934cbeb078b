#!/usr/bin/env python3
"""Mints folders with a SentencePiece model instead of tokenizer.json, and what Hugging Face's tokenizers make of texts with them.

    mint_sentencepiece.py --out crates/peft-data/tests/fixtures

Needs the packages of requirements-sentencepiece.txt. Deterministic.
OUT/spm/<name>/   a model of a few hundred pieces, trained on the text below, as files of the family call it, and tokenizer_config.json
OUT/spm/expected.json   cases: folder, text, pair, ids and type_ids with special tokens, and what the ids of a text are decoded to
"""

import argparse
import json
import os
import shutil
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import sentencepiece
import transformers

WORDS = "the of and a to in is was he for it with as his on be at by I this had not are but from or have an they which one you were her all".split()
MORE = "Wörter für Grüße naïve café señor 1,000 3.14 don't state-of-the-art ABC xyz Москва привет 東京 本日 é ﬁne".split()
SYLLABLES = "ta re mi con ver stat ing ed tion pre sub inter form al ist ous ly ma lo".split()
MADE = [SYLLABLES[i % 19] + SYLLABLES[(i * 7 + 3) % 19] + (SYLLABLES[(i * 5) % 19] if i % 2 else "") for i in range(150)]
WORDS += MADE
ENGLISH = [" ".join(WORDS[(i * 7 + j * j * (i % 11 + 1) + i // 3) % len(WORDS)] for j in range(3 + i % 9)) + "." for i in range(400)]
MIXED = [" ".join((WORDS + MORE)[(i * 5 + j * 3) % (len(WORDS) + len(MORE))] for j in range(2 + i % 7)) for i in range(400)]

TEXTS = [
    "", " ", "the cat", "The cat sat on the mat.", "  two  spaces   and more ", "tab\tand\nnewline", "1,000 and 3.14,", "don't ``quote'' it",
    "Grüße aus Köln", "naïve café", "ﬁne ﬂow", "Москва 東京", "emoji 🙂 end", "<s> in text </s>", "[CLS] and [MASK] here", "▁already", "ABC abc",
    "a" * 40, "<unk>", "<pad>", "x<mask>y", "\u200bzero width", "e\u0301 combining", "<start_of_turn>user\nhi<end_of_turn>",
]
PAIRS = [("the cat", "sat on it"), ("", "one")]

SMALL_RULES = [("FB01", "66 69"), ("FB02", "66 6C"), ("200B", ""), ("9", "20"), ("A", "20"), ("65 301", "E9")]


def train(path, kind, vocab, rules, **more):
    corpus, table = path.with_suffix(".txt"), path.with_suffix(".tsv")
    corpus.write_text("\n".join(ENGLISH + MIXED))
    arguments = dict(input=str(corpus), model_prefix=str(path.with_suffix("")), model_type=kind, vocab_size=vocab, hard_vocab_limit=kind == "bpe", num_threads=1,
                     character_coverage=1.0, minloglevel=2, **more)
    if rules:
        table.write_text("".join(f"{a}\t{b}\n" for a, b in SMALL_RULES))
        arguments["normalization_rule_tsv"] = str(table)
    else:
        arguments["normalization_rule_name"] = "identity"
    sentencepiece.SentencePieceTrainer.train(**arguments)
    for rest in (corpus, table, path.with_suffix(".vocab")):
        rest.unlink(missing_ok=True)


def folders():
    """name -> (file, settings of training, tokenizer_config.json)."""
    albert = dict(pad_id=0, unk_id=1, bos_id=-1, eos_id=-1, control_symbols=["[CLS]", "[SEP]"], user_defined_symbols=["[MASK]"])
    deberta = dict(pad_id=0, bos_id=1, eos_id=2, unk_id=3, pad_piece="[PAD]", bos_piece="[CLS]", eos_piece="[SEP]", unk_piece="[UNK]")
    llama = dict(byte_fallback=True, split_digits=True, remove_extra_whitespaces=False, allow_whitespace_only_pieces=True)
    gemma = dict(llama, pad_id=0, eos_id=1, bos_id=2, unk_id=3, bos_piece="<bos>", eos_piece="<eos>", add_dummy_prefix=False,
                 user_defined_symbols=["<mask>", "<start_of_turn>", "<end_of_turn>"])
    return {
        "albert": ("spiece.model", ("unigram", 220, True, albert), {"tokenizer_class": "AlbertTokenizer"}),
        "albert_cased": ("spiece.model", ("unigram", 220, True, albert), {
            "tokenizer_class": "AlbertTokenizer", "do_lower_case": False, "keep_accents": True}),
        "xlm_roberta": ("sentencepiece.bpe.model", ("unigram", 220, True, {}), {"tokenizer_class": "XLMRobertaTokenizer"}),
        "camembert": ("sentencepiece.bpe.model", ("unigram", 200, True, {}), {"tokenizer_class": "CamembertTokenizer"}),
        "deberta_v2": ("spm.model", ("unigram", 220, True, deberta), {"do_lower_case": False, "vocab_type": "spm"}),
        "deberta_v2_lower": ("spm.model", ("unigram", 220, True, deberta), {
            "tokenizer_class": "DebertaV2Tokenizer", "do_lower_case": True, "split_by_punct": True}),
        "llama": ("tokenizer.model", ("bpe", 480, False, llama), {"tokenizer_class": "LlamaTokenizer"}),
        "llama_legacy": ("tokenizer.model", ("bpe", 480, False, llama), {
            "tokenizer_class": "LlamaTokenizer", "legacy": True, "add_bos_token": True, "add_eos_token": True}),
        "gemma": ("tokenizer.model", ("bpe", 480, False, gemma), {"tokenizer_class": "GemmaTokenizer"}),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out / "spm"
    shutil.rmtree(out, ignore_errors=True)
    cases = []
    for name, (file, (kind, vocab, rules, more), config) in folders().items():
        folder = out / name
        folder.mkdir(parents=True)
        train(folder / file, kind, vocab, rules, **more)
        (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=1) + "\n")
        model_type = name.split("_legacy")[0].split("_cased")[0].split("_lower")[0].replace("_", "-")
        (folder / "config.json").write_text(json.dumps({"model_type": model_type}))
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        if os.environ.get("SHOW"):
            shown = json.loads(tokenizer.backend_tokenizer.to_str())
            shown["model"]["vocab"], shown["model"]["merges"] = len(shown["model"]["vocab"]), len(shown["model"].get("merges", []))
            print(name, type(tokenizer).__name__, json.dumps(shown, ensure_ascii=False)[:3500])
        for text, pair in [(t, None) for t in TEXTS] + PAIRS:
            encoded = tokenizer(text, pair, return_token_type_ids=True)
            decoded = tokenizer.backend_tokenizer.decode(encoded["input_ids"], skip_special_tokens=True)
            cases.append(dict(folder=name, text=text, pair=pair, ids=encoded["input_ids"], type_ids=encoded["token_type_ids"], decoded=decoded))
    lines = ",\n".join(json.dumps(case, ensure_ascii=False) for case in cases)
    made = {"transformers": transformers.__version__, "sentencepiece": sentencepiece.__version__}
    (out / "expected.json").write_text('{"made_with": ' + json.dumps(made) + ',\n"cases": [\n' + lines + "\n]}\n")
    print(len(cases), "cases")


if __name__ == "__main__":
    main()
