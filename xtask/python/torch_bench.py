#!/usr/bin/env python3
"""The PyTorch side of a benchmark, driven by one JSON command a line on stdin; answers one JSON line each on stdout.

At start it prints {"ready":true,"versions":{…},"pid":N,"cpu_capability":"AVX512"}. Commands (a number of slots can be held at a time:
"name", default "default", so that a driver can alternate adapted and frozen, or PyTorch and its own engine, in one run):

{"op":"setup","name":S?,"case":"bert_layer","batch":8,"seq":128,"adapter":"none"|"lora"|"all-linear"|"full","rank":8,"alpha":16?,
 "threads":2,"mode":"forward"|"train","optimizer":false?,"attention":"sdpa"?|"eager"}
    One HF BertLayer of BERT-base size (768, 12 heads, 3072, erf gelu), f32, dropout 0, random weights, input [batch, seq, 768] random,
    no mask. lora: query,value; all-linear: the six Linears; full: every parameter trained; none: nothing trained.
    forward: eval, no_grad. train: forward, loss = mean(output * probe) with a fixed random probe (the output is layer-normed, so its
    mean of squares would be constant), backward. The input requires a gradient too (a layer
    in the middle of a stack), in every adapter kind. Gradients are set to None inside the timing. With "optimizer":true AdamW steps.
{"op":"setup","name":S?,"case":"minilm_step","model":DIR,"data":CSV,"batch":32,"max_length":64,"padding":"dynamic"|"grouped"|"fixed",
 "adapter":"lora"?|"none"|"all-linear"|"full","rank":8?,"alpha":16?,"targets":["query","value"]?,"threads":2,"mode":"train"?|"forward",
 "dropout":true?,"seed":0?,"attention":"sdpa"?}
    BertForSequenceClassification + PEFT: one whole step = collate, forward, loss, backward, clip 1.0, AdamW (lr 2e-3), zero_grad.
    dynamic: padded to the longest row of the batch; grouped: the same with batches of similar length (textdata.epoch_batches);
    fixed: every batch padded to max_length. Epoch after epoch of the CSV, last short batch of an epoch left out. adapter none trains
    the head only. mode forward: collate and forward in eval, no_grad. dropout false sets the config's dropouts to 0.
    -> {"ok":true,"name":S,"trainable_parameters":N,"rss_anon_bytes":N,"setup_s":F}
{"op":"setup","name":S?,"case":"bert_base_step","batch":32,"seq":128,"layers":12?,"adapter":"lora"?,"rank":8?,"alpha":16?,
 "targets":["query","value"]?,"recompute":false?,"dropout":true?,"seed":0?,"attention":"sdpa"?,"threads":2}
    The same step, without collating, of a model of BERT-base's size with random weights on one batch of random tokens. recompute:
    transformers' gradient checkpointing, which keeps the inputs of the layers and computes the layers a second time.
{"op":"setup","name":S?,"case":"linear","features":D,"batch":B,"seq":S,"adapter":…,"settings":{…}?,"threads":2}
    One frozen Linear of D inputs and D outputs in the middle of a stack: forward, loss = mean(output * probe), backward.
{"op":"setup","name":S?,"case":"language_step","model":DIR,"batch":8,"seq":256,"adapter":"lora"|"all-linear","rank":8,"alpha":16?,
 "targets":["q_proj","v_proj"]?,"recompute":false?,"attention":"sdpa"?,"threads":2}
    The whole step of AutoModelForCausalLM of a Hugging Face folder on one batch of random tokens, all of which are labels. "full"
    trains every parameter.
{"op":"setup","name":S?,"case":"language_generate","model":DIR,"batch":4,"seq":128,"threads":2}
    "seq" tokens behind a prompt of "batch" random ones, with the cache of AutoModelForCausalLM, the likeliest token each.
{"op":"setup","name":S?,"case":"scan","form":"c"|"tensors"|"transformers","batch":1?,"seq":512,"features":1536,"states":16,"threads":2}
    The selective scan with gate, direct path and softplus, forward: a loop in C (scan.c, compiled by cc with -Ofast; one thread), the
    loop over tokens of whole tensors whose decays and inputs were made at once, or transformers' function without its kernels.
{"op":"setup","name":S?,"case":"tokenise","model":DIR,"data":CSV,"max_length":256,"threads":2}
    The texts of the CSV by the folder's tokenizer.json, Tokenizer.encode_batch on that many threads, and nothing else; reading the CSV
    is not timed. Threads are the process's own and start once: a process has one number of them.
bert_base_step and language_step also know "device":"cpu"?|"cuda" and "dtype":"f32"?|"bf16", the type of the model's weights, and
bert_base_step "model":DIR?, a Hugging Face folder in place of random weights.
In every case "autocast":true computes the forward pass under torch.autocast(device, dtype=torch.bfloat16), "compiled":true by torch.compile, and "adapter" may also be another method of PEFT by its peft_type in lower case, with "settings" for its configuration.
{"op":"run","name":S?,"iterations":N,"sample_memory":true?}
    -> {"ok":true,"name":S,"times_s":[…],"real_tokens":[…],"padded_tokens":[…],"losses":[…]?,"rss_anon_peak_bytes":N,
        "rss_anon_before_bytes":N}      peak = RssAnon of /proc/self/status, sampled every 2 ms during the run
        by a thread; with "sample_memory":false only before and after, so that nothing disturbs the times. On a GPU also
        "device_peak_bytes" (allocated) and "device_reserved_bytes" (by PyTorch's allocator, kept for reuse included).
{"op":"drop","name":S?} -> {"ok":true}          {"op":"quit"} -> exit 0 (as at end of input)
Any failure -> {"ok":false,"error":"…"}; the process goes on. Warm-up is the driver's: run some iterations and drop their times.
"""

import ctypes
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import versions

versions.check()
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Everything but the answers goes to stderr.
answers = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)

import torch
import transformers as hf
from peft import PeftType, get_peft_model
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from transformers.models.bert.modeling_bert import BertLayer

from rss import Sampler, rss_anon
from textdata import collate, encode, epoch_batches, read_csv, tokenizer

hf.logging.set_verbosity_error()
hf.utils.logging.disable_progress_bar()


def adapt(model, adapter, command, task=None):
    """Wraps the model with PEFT, or sets which of its parameters are trained."""
    if adapter in ("none", "full"):
        for name, p in model.named_parameters():
            p.requires_grad_(adapter == "full" or (task is not None and name.startswith("classifier")))
        return model
    settings = dict(command.get("settings", {}))
    targets = command.get("targets", ["query", "value"])
    kind = adapter
    if adapter in ("lora", "all-linear"):
        rank = command.get("rank", 8)
        kind, settings = "lora", {"r": rank, "lora_alpha": command.get("alpha", 2 * rank), "lora_dropout": 0.0, **settings}
        if adapter == "all-linear":
            targets = r".*(query|key|value|dense)" if task is None else "all-linear"
    config = PEFT_TYPE_TO_CONFIG_MAPPING[PeftType(kind.upper())](task_type=task, target_modules=targets, **settings)
    return get_peft_model(model, config)


class Layer(torch.nn.Module):
    """One encoder layer, so that PEFT has a parent whose submodules it can replace."""

    def __init__(self, attention):
        super().__init__()
        config = hf.BertConfig(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, attn_implementation=attention)
        config._attn_implementation = attention
        self.layer = BertLayer(config)

    def forward(self, hidden):
        out = self.layer(hidden)
        return out[0] if isinstance(out, tuple) else out


class BertLayerCase:
    def __init__(self, command):
        torch.manual_seed(0)
        self.train = command["mode"] == "train"
        self.model = adapt(Layer(command.get("attention", "sdpa")), command["adapter"], command)
        self.model.train(self.train)
        self.input = torch.randn(command["batch"], command["seq"], 768, requires_grad=self.train)
        self.probe = torch.randn(command["batch"], command["seq"], 768)
        self.tokens = command["batch"] * command["seq"]
        self.trained = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = None
        if command.get("optimizer") and self.train and self.trained:
            self.optimizer = torch.optim.AdamW(self.trained, lr=1e-3, weight_decay=0.0)

    def iteration(self):
        if not self.train:
            with torch.no_grad(), autocast():
                self.model(self.input)
            return self.tokens, self.tokens, None
        with autocast():
            loss = (self.model(self.input) * self.probe).mean()
        loss.backward()
        if self.optimizer:
            self.optimizer.step()
        for p in self.trained:
            p.grad = None
        self.input.grad = None
        return self.tokens, self.tokens, loss.item()


class Single(torch.nn.Module):
    """A linear layer with a parent, for PEFT to replace it in."""

    def __init__(self, features):
        super().__init__()
        self.linear = torch.nn.Linear(features, features)
        torch.nn.init.normal_(self.linear.weight, std=0.02)

    def forward(self, x):
        return self.linear(x)


class LinearCase:
    def __init__(self, command):
        torch.manual_seed(0)
        features, shape = command["features"], (command["batch"], command["seq"])
        self.model = adapt(Single(features), command["adapter"], {"targets": ["linear"], **command}).train()
        self.input = torch.randn(*shape, features, requires_grad=True)
        self.probe = torch.randn(*shape, features)
        self.tokens = shape[0] * shape[1]

    def iteration(self):
        with autocast():
            loss = (self.model(self.input) * self.probe).mean()
        loss.backward()
        for p in self.model.parameters():
            p.grad = None
        self.input.grad = None
        return self.tokens, self.tokens, loss.item()


class MinilmStepCase:
    def __init__(self, command):
        seed = command.get("seed", 0)
        torch.manual_seed(seed)
        self.train = command.get("mode", "train") == "train"
        self.padding = command["padding"]
        if self.padding not in ("dynamic", "grouped", "fixed"):
            raise ValueError(f"unknown padding {self.padding!r}; known: dynamic, grouped, fixed")
        self.max_length, self.batch, self.seed = command["max_length"], command["batch"], seed
        self.rows = encode(tokenizer(command["model"], self.max_length), read_csv(command["data"]))
        extra = {} if command.get("dropout", True) else {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
        model = hf.BertForSequenceClassification.from_pretrained(
            Path(command["model"]), num_labels=2, dtype=torch.float32, attn_implementation=command.get("attention", "sdpa"), **extra)
        self.model = adapt(model, command.get("adapter", "lora"), command, "SEQ_CLS")
        self.model.train(self.train)
        self.trained = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(self.trained, lr=2e-3, weight_decay=0.0)
        self.batches = self.endless()

    def endless(self):
        lengths = [len(ids) for ids, _ in self.rows]
        epoch = 0
        while True:
            epoch += 1
            for indices in epoch_batches(lengths, self.batch, self.seed, epoch, self.padding == "grouped"):
                if len(indices) == self.batch:
                    yield indices

    def iteration(self):
        batch = collate([self.rows[i] for i in next(self.batches)])
        if self.padding == "fixed":
            for key in ("input_ids", "attention_mask"):
                batch[key] = torch.nn.functional.pad(batch[key], (0, self.max_length - batch[key].shape[1]))
        real, padded = int(batch["attention_mask"].sum()), batch["input_ids"].numel()
        if not self.train:
            with torch.no_grad(), autocast():
                loss = self.model(**batch).loss.item()
            return real, padded, loss
        return real, padded, step(self.model, batch, self.trained, self.optimizer)


class BertBaseStepCase:
    def __init__(self, command):
        torch.manual_seed(command.get("seed", 0))
        extra = {} if command.get("dropout", True) else {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
        extra = {"num_labels": 2, "attn_implementation": command.get("attention", "sdpa"), **extra}
        if command.get("model"):
            model = hf.BertForSequenceClassification.from_pretrained(Path(command["model"]), dtype=dtype_of(command), **extra)
        else:
            config = hf.BertConfig(num_hidden_layers=command.get("layers", 12), **extra)
            model = hf.BertForSequenceClassification(config).to(dtype_of(command))
        model, config = model.to(command.get("device", "cpu")), model.config
        if command.get("recompute", False):
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        self.model = adapt(model, command.get("adapter", "lora"), command, "SEQ_CLS").train()
        shape = (command["batch"], command["seq"])
        batch = {"input_ids": torch.randint(config.vocab_size, shape), "attention_mask": torch.ones(shape, dtype=torch.long),
                 "labels": torch.arange(command["batch"]) % 2}
        self.batch = {name: tensor.to(command.get("device", "cpu")) for name, tensor in batch.items()}
        self.trained = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(self.trained, lr=2e-3, weight_decay=0.0)

    def iteration(self):
        tokens = self.batch["input_ids"].numel()
        return tokens, tokens, step(self.model, self.batch, self.trained, self.optimizer)


class LanguageStepCase:
    def __init__(self, command):
        torch.manual_seed(command.get("seed", 0))
        # By itself transformers takes sdpa where a model has attention.
        chosen = {"attn_implementation": command["attention"]} if "attention" in command else {}
        model = hf.AutoModelForCausalLM.from_pretrained(Path(command["model"]), dtype=dtype_of(command), **chosen)
        model = model.to(command.get("device", "cpu"))
        model.config.use_cache = False
        if command.get("recompute", False):
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        self.model = adapt(model, command["adapter"], command, "CAUSAL_LM").train()
        ids = torch.randint(model.config.vocab_size, (command["batch"], command["seq"])).to(command.get("device", "cpu"))
        self.batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "labels": ids}
        self.trained = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(self.trained, lr=2e-3, weight_decay=0.0)

    def iteration(self):
        tokens = self.batch["input_ids"].numel()
        return tokens, tokens, step(self.model, self.batch, self.trained, self.optimizer)


class LanguageGenerateCase:
    def __init__(self, command):
        torch.manual_seed(command.get("seed", 0))
        self.model = hf.AutoModelForCausalLM.from_pretrained(Path(command["model"]), dtype=dtype_of(command)).eval()
        self.prompt = torch.randint(self.model.config.vocab_size, (1, command["batch"]))
        count = command["seq"]
        # No token ends it: every turn generates as many.
        self.settings = {"max_new_tokens": count, "min_new_tokens": count, "do_sample": False, "use_cache": True,
                         "attention_mask": torch.ones_like(self.prompt)}

    def iteration(self):
        with torch.no_grad():
            made = self.model.generate(self.prompt, **self.settings)
        tokens = made.shape[1] - self.prompt.shape[1]
        return tokens, tokens, None


class ScanCase:
    model = torch.nn.Module()

    def __init__(self, command):
        torch.manual_seed(0)
        self.batch, self.seq = command.get("batch", 1), command["seq"]
        self.channels, self.states = command["features"], command["states"]
        wide, narrow = (self.batch, self.seq, self.channels), (self.batch, self.seq, self.states)
        self.u, self.delta, self.gate = torch.randn(wide), torch.randn(wide), torch.randn(wide)
        self.b, self.c = torch.randn(narrow), torch.randn(narrow)
        self.a = -torch.arange(1.0, self.states + 1).repeat(self.channels, 1)
        self.skip, self.bias = torch.randn(self.channels), torch.randn(self.channels)
        forms = {"c": self.loop_in_c, "tensors": self.loop_of_tensors, "transformers": self.transformers}
        self.form = forms[command["form"]]
        if command["form"] == "c":
            if command.get("threads", 2) != 1 or self.channels % 16 or self.states > 64:
                raise ValueError("the loop in C has one thread, channels in sixteens, and at most 64 states")
            self.compile()
        # All forms compute the same.
        with torch.no_grad():
            error = (self.form() - self.transformers()).abs().max().item()
        if not error < 1e-3:
            raise ValueError(f"the form {command['form']} is {error} away from transformers' scan")

    def compile(self):
        library = Path(tempfile.mkdtemp()) / "scan.so"
        source = Path(__file__).with_name("scan.c")
        subprocess.run(["cc", "-Ofast", "-march=native", "-fopenmp-simd", "-shared", "-fPIC", "-o", library, source, "-lm"], check=True)
        self.library = ctypes.CDLL(str(library))
        self.out = torch.empty(self.batch, self.seq, self.channels)

    def loop_in_c(self):
        pointers = [ctypes.c_void_p(x.data_ptr()) for x in
                    (self.u, self.delta, self.gate, self.b, self.c, self.a, self.skip, self.bias, self.out)]
        self.library.selective_scan(*pointers, self.batch, self.seq, self.channels, self.states)
        return self.out

    def loop_of_tensors(self):
        delta = torch.nn.functional.softplus(self.delta + self.bias)
        # Token before sequence: what a step reads lies together.
        wide = [x.transpose(0, 1).contiguous() for x in (delta, delta * self.u)]
        decays = torch.exp(wide[0].unsqueeze(-1) * self.a)
        states = wide[1].unsqueeze(-1) * self.b.transpose(0, 1).unsqueeze(2)
        for place in range(1, self.seq):
            states[place].addcmul_(decays[place], states[place - 1])
        y = torch.matmul(states, self.c.transpose(0, 1).unsqueeze(-1)).squeeze(-1).transpose(0, 1)
        return (y + self.skip * self.u) * torch.nn.functional.silu(self.gate)

    def transformers(self):
        from transformers.models.mamba.modeling_mamba import mamba_selective_scan

        turned = [x.transpose(1, 2) for x in (self.u, self.delta, self.b, self.c, self.gate)]
        u, delta, b, c, gate = turned
        y = mamba_selective_scan(u, delta, self.a, b, c, D=self.skip, z=gate, delta_bias=self.bias, delta_softplus=True)
        return y.transpose(1, 2)

    def iteration(self):
        with torch.no_grad():
            self.form()
        tokens = self.batch * self.seq
        return tokens, tokens, None


class TokeniseCase:
    model = torch.nn.Module()

    def __init__(self, command):
        os.environ["RAYON_NUM_THREADS"] = str(command.get("threads", 2))
        os.environ["TOKENIZERS_PARALLELISM"] = "true"
        from tokenizers import Tokenizer

        self.tokenizer = Tokenizer.from_file(str(Path(command["model"]) / "tokenizer.json"))
        self.texts = [text for text, _ in read_csv(command["data"])]

    def iteration(self):
        tokens = sum(len(row.ids) for row in self.tokenizer.encode_batch(self.texts, add_special_tokens=True))
        return tokens, tokens, None


def autocast():
    """What the forward pass of the case at hand computes in."""
    return torch.autocast(computes_on, dtype=torch.bfloat16, enabled=autocasts)


def dtype_of(command):
    """The type of a model's weights."""
    return {"f32": torch.float32, "bf16": torch.bfloat16}[command.get("dtype", "f32")]


def step(model, batch, trained, optimizer):
    """Forward, backward, clipping and AdamW; returns the loss."""
    with autocast():
        loss = model(**batch).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(trained, 1.0)
    optimizer.step()
    optimizer.zero_grad()
    return loss.item()


CASES = {"bert_layer": BertLayerCase, "linear": LinearCase, "minilm_step": MinilmStepCase, "bert_base_step": BertBaseStepCase,
         "language_step": LanguageStepCase, "language_generate": LanguageGenerateCase, "scan": ScanCase, "tokenise": TokeniseCase}
# Those that compute elsewhere than on the processor, too, and in other types than float32.
ANYWHERE = ("bert_base_step", "language_step")
slots = {}
# Whether the case at hand computes in bfloat16, and on what.
autocasts, computes_on = False, "cpu"


def setup(command):
    name = command.get("name", "default")
    slots.pop(name, None)
    gc.collect()
    threads = command.get("threads", 2)
    began = time.perf_counter()
    if command["case"] not in CASES:
        raise ValueError(f"unknown case {command['case']!r}; known: {', '.join(CASES)}")
    if command.get("mode", "train") not in ("forward", "train"):
        raise ValueError(f"unknown mode {command['mode']!r}; known: forward, train")
    device, dtype = command.get("device", "cpu"), command.get("dtype", "f32")
    if device not in ("cpu", "cuda") or dtype not in ("f32", "bf16"):
        raise ValueError(f"unknown device {device!r} or dtype {dtype!r}; known: cpu, cuda; f32, bf16")
    if (device, dtype) != ("cpu", "f32") and command["case"] not in ANYWHERE:
        raise ValueError(f"{command['case']} computes on the cpu in f32; others: {', '.join(ANYWHERE)}")
    torch.set_num_threads(threads)
    case = CASES[command["case"]](command)
    if command.get("compiled"):
        # The first steps compile; those that warm up are not counted.
        case.model = torch.compile(case.model)
    slots[name] = (case, threads, command.get("autocast", False), device)
    trained = sum(p.numel() for p in case.model.parameters() if p.requires_grad)
    return {"ok": True, "name": name, "trainable_parameters": trained, "rss_anon_bytes": rss_anon(),
            "setup_s": time.perf_counter() - began}


def run(command):
    name = command.get("name", "default")
    if name not in slots:
        raise ValueError(f"nothing is set up under the name {name!r}; send a setup first")
    global autocasts, computes_on
    case, threads, autocasts, computes_on = slots[name]
    if computes_on == "cuda":
        torch.cuda.reset_peak_memory_stats()
    torch.set_num_threads(threads)
    times, real, padded, losses = [], [], [], []
    before = rss_anon()
    with Sampler(0.002 if command.get("sample_memory", True) else None) as sampler:
        for _ in range(command["iterations"]):
            began = time.perf_counter()
            r, p, loss = case.iteration()
            times.append(time.perf_counter() - began)
            real.append(r)
            padded.append(p)
            losses.append(loss)
    reply = {"ok": True, "name": name, "times_s": times, "real_tokens": real, "padded_tokens": padded,
             "rss_anon_peak_bytes": sampler.peak, "rss_anon_before_bytes": before}
    if computes_on == "cuda":
        reply["device_peak_bytes"] = torch.cuda.max_memory_allocated()
        reply["device_reserved_bytes"] = torch.cuda.max_memory_reserved()
    if losses and losses[0] is not None:
        reply["losses"] = losses
    return reply


def drop(command):
    slots.pop(command.get("name", "default"), None)
    gc.collect()
    return {"ok": True}


def say(reply):
    answers.write(json.dumps(reply) + "\n")
    answers.flush()


def main():
    torch.set_num_interop_threads(1)
    say({"ready": True, "versions": versions.installed(), "pid": os.getpid(), "cpu_capability": torch.backends.cpu.get_cpu_capability()})
    for line in sys.stdin:
        if not line.strip():
            continue
        try:
            command = json.loads(line)
            if command["op"] == "quit":
                break
            operations = {"setup": setup, "run": run, "drop": drop}
            if command["op"] not in operations:
                raise ValueError(f"unknown op {command['op']!r}; known: setup, run, drop, quit")
            say(operations[command["op"]](command))
        except Exception as error:
            say({"ok": False, "error": f"{type(error).__name__}: {error}"})


if __name__ == "__main__":
    main()
