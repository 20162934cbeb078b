"""Writes tests/fixtures with PEFT (versions in xtask/python/requirements.txt): what it matches, and a small adapter that it saved.

Run from the crate's folder: `python tools/make_fixtures.py`.
"""
import itertools, json, os, sys, types
sys.path.insert(0, "../../xtask/python")
import versions
versions.check()
import torch
from torch import nn
from peft import LoraConfig, get_peft_model
from peft.tuners.tuners_utils import check_target_module_exists
from peft.utils.other import get_pattern_key

PATHS = [
    "embed_tokens", "layers", "layers.0", "layers.0.self_attn.q_proj", "layers.1.self_attn.q_proj",
    "layers.11.self_attn.v_proj", "model.layers.0.self_attn.q_proj", "model.layers.1.self_attn.v_proj",
    "model.layers.1.mlp.experts.0.up_proj", "model.layers.0.mlp.experts.1.up_proj", "lm_head",
    "encoder.layer.0.attention.self.query", "encoder.layer.2.attention.self.value",
    "bert.encoder.layer.2.attention.output.dense", "classifier", "classifier.dense",
    "my_classifier.dense", "classifier_extra", "vision.h.0.attn.q_proj", "visual.blocks.3.mlp.fc1",
    "transformer.h.1.attn.c_attn", "xq_proj", "a.xq_proj", "q_proj", "model.layers.x.q_proj",
]
TARGETS = [
    ["q_proj"], ["q_proj", "v_proj", "query"], ["proj"], ["self_attn.q_proj"], ["up_proj"], ["dense"],
    ["layers.0.self_attn.q_proj", "v_proj"], ["model.layers.1.self_attn.v_proj"], [""], ["0"],
    ".*q_proj", "q_proj", r".*\.(query|value)", r"^(?!.*vis).*(?:q_proj|fc1)", r"model\.layers\.[0-3]\..*",
    "a|b.*|lm_head", r".*layers\.\d+\.self_attn\.[qv]_proj$", r"(?i).*Q_PROJ", "",
]
EXCLUDES = [None, [], "", ["q_proj"], ["lm_head", "layers.1.self_attn.v_proj"], r".*\.[01]\..*"]
SAVED = [None, ["classifier"], ["lm_head", "layers"], ["cl.*r"]]
LAYERS = [(None, None), ([], None), ([1], None), ([0, 2], []), (1, "layers"), ([0, 1], ["h", "layers"]),
          ([0, 1, 2], ["layer"]), ([1], ["layers|experts"]), ([0], ""), ([1], ["[a-z]*s"])]

def cases():
    for t, e, s, (n, p) in itertools.product(TARGETS, EXCLUDES, SAVED, LAYERS):
        if isinstance(t, str) and (n is not None or p is not None):
            continue
        extra = (e is not None) + (s is not None) + (n is not None)
        if extra > 1 and hash_of(t, e, s, n, p) % 5:
            continue
        yield dict(target_modules=t, exclude_modules=e, modules_to_save=s, layers_to_transform=n, layers_pattern=p)

def hash_of(*x):
    return sum(map(ord, json.dumps(x)))

out = []
for c in cases():
    config = types.SimpleNamespace(target_parameters=None, **c)
    config.target_modules = set(c["target_modules"]) if isinstance(c["target_modules"], list) else c["target_modules"]
    hits = []
    for i, path in enumerate(PATHS):
        result = check_target_module_exists(config, path)
        if result and type(result).__name__ != "_ExcludedModule":
            hits.append(i)
    out.append({"config": {k: v for k, v in c.items() if v is not None}, "hits": hits})

PATTERNS = ["q_proj", "v_proj", "layers.1.*", r"layers\.0\.self_attn\.q_proj", "^model.*", "self_attn.q_proj", "(q|v)_proj",
            "proj", "q_proj$", "classifier|lm_head", "encoder.layer.2.attention.self.value", r"layer\.[02]\..*"]
lookups = []
for size in (1, 2, 3):
    for keys in itertools.combinations(PATTERNS, size):
        found = []
        for p in PATHS:
            k = get_pattern_key(list(keys), p)
            found.append(keys.index(k) if k in keys else None)
        lookups.append({"keys": keys, "found": found})
os.makedirs("tests/fixtures", exist_ok=True)
with open("tests/fixtures/targets.json", "w") as f:
    f.write('{"paths":' + json.dumps(PATHS) + ',\n"cases":[\n')
    f.write(",\n".join(json.dumps(c, separators=(",", ":")) for c in out))
    f.write('],\n"lookups":[\n')
    f.write(",\n".join(json.dumps(c, separators=(",", ":")) for c in lookups) + "]}\n")

class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.q_proj, self.v_proj = nn.Linear(6, 6), nn.Linear(6, 4)

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList([Block(), Block()])
        self.classifier = nn.Linear(6, 2)
    def forward(self, x):
        return x

torch.manual_seed(0)
config = LoraConfig(r=2, lora_alpha=4, target_modules=["q_proj", "v_proj"], modules_to_save=["classifier"],
                    rank_pattern={"layers.1.q_proj": 3}, use_dora=True)
get_peft_model(Model(), config).save_pretrained("tests/fixtures/lora")
os.remove("tests/fixtures/lora/README.md")
