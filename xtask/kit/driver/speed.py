"""The steps that measure: kernels with fusion and autotuning on and off, and whole steps against PyTorch and PEFT."""

from kit import ProcessMemory, cost, median, run
from sides import Deadline, Failed, OverBudget

# Fusion that explores nothing executes every operation by itself.
VARIANTS = [("as built", {}), ("without fusion", {"BURN_FUSION_MAX_EXPLORATIONS": "0"})]
# Of a binary that was built with autotuning, which cannot be turned off there.
TUNED = [("least autotuning", {"CUBECL_AUTOTUNE_LEVEL": "minimal"}), ("most autotuning", {"CUBECL_AUTOTUNE_LEVEL": "full"})]


def kernels(kit, deadline):
    """Milliseconds of a step of one layer with LoRA and with sDCTFT, and of a small Mamba, whose time is its scan's."""
    features, rows = (4096, [8, 128]) if kit.gpu else (128, [2, 16])
    linear = {"case": "linear", "features": features, "batch": rows[0], "seq": rows[1], "optimizer": True}
    mamba = kit.python("random_model.py", ["mamba", "large" if kit.gpu else "small", kit.work / "mamba"], deadline)["folder"]
    cases = [("LoRA", {**linear, "adapter": "lora", "rank": 8}),
             ("sDCTFT", {**linear, "adapter": "sdctft", "settings": {"n_frequency": 1000}}),
             ("scan", {"case": "language_step", "model": mamba, "batch": 4 if kit.gpu else 2, "seq": 256 if kit.gpu else 16,
                       "adapter": "lora", "rank": 8, "targets": ["in_proj", "out_proj"]})]
    with kit.ours(deadline) as side:
        tuned = side.ready.get("device", {}).get("autotune", False)
    figures, problems = {"features": features, "rows": rows[0] * rows[1], "autotune": tuned}, []
    variants = VARIANTS + (TUNED if tuned else []) if kit.gpu else VARIANTS[:1]
    for variant, env in variants:
        figures[variant] = {}
        try:
            with kit.ours(deadline, **env) as side:
                for name, setup in cases:
                    run(side, setup, 3)
                    times = side.ask(op="run", iterations=kit.turns, sample_memory=False)["times_s"]
                    figures[variant][name] = {"ms": median(times) * 1e3}
        except Failed as error:
            problems.append(f"{variant}: {error}")
        except OverBudget:
            raise OverBudget(f"ended {variant}", figures) from None
    if problems:
        raise Failed("; ".join(problems), figures)
    return figures


def bert(kit, deadline):
    """A training step of a model of BERT-base's shape with LoRA."""
    size, batch, seq = ("large", 32, 128) if kit.gpu else ("small", 4, 16)
    return against_torch(kit, deadline, "bert", size, {"case": "bert_base_step", "batch": batch, "seq": seq,
                                                       "targets": ["query", "value"]})


def llama(kit, deadline):
    """A training step of a model of the shape of Llama 3.2 1B with LoRA."""
    size, batch, seq = ("large", 4, 512) if kit.gpu else ("small", 2, 16)
    return against_torch(kit, deadline, "llama", size, {"case": "language_step", "batch": batch, "seq": seq,
                                                        "targets": ["q_proj", "v_proj"]})


def against_torch(kit, deadline, kind, size, setup):
    """Ours and PyTorch with PEFT on one checkpoint of random weights in bf16, turn by turn; then the memory of each."""
    told = kit.python("random_model.py", [kind, size, kit.work / kind], deadline)
    setup = {**setup, "model": told["folder"], "adapter": "lora", "rank": 8, "alpha": 16, "dropout": False}
    ours = {**setup, "base_dtype": "bf16"}
    theirs = {**setup, "device": "cuda" if kit.gpu else "cpu", "dtype": "bf16", "autocast": True}
    figures = {"parameters": told["parameters"], "batch": setup["batch"], "tokens": setup["seq"], "sides": {}}
    turns = {"ours": [], "torch": []}
    try:
        with kit.ours(deadline) as left, kit.torch(deadline) as right:
            sides = {"ours": (left, ours), "torch": (right, theirs)}
            for name, (side, wanted) in sides.items():
                loaded = side.ask(op="setup", **wanted)
                figures["sides"][name] = {"trained": loaded["trainable_parameters"]}
                side.ask(op="run", iterations=3, sample_memory=False)
            for _ in range(kit.turns):
                for name, (side, _) in sides.items():
                    turns[name].append(side.ask(op="run", iterations=1, sample_memory=False))
            for name, (side, _) in sides.items():
                with ProcessMemory(side.process.pid, deadline) as memory:
                    answer = side.ask(op="run", iterations=2, sample_memory=True)
                figures["sides"][name].update(
                    device_bytes=answer.get("device_reserved_bytes"), device_peak_allocated_bytes=answer.get("device_peak_bytes"),
                    process_on_gpu_bytes=memory.peak, resident_bytes=answer["rss_anon_peak_bytes"])
    finally:
        if all(turns.values()):
            for name, answers in turns.items():
                times = [seconds for answer in answers for seconds in answer["times_s"]]
                figures["sides"][name].update(step_ms=median(times) * 1e3, tokens_per_s=1 / median(map(cost, answers)))
            pairs = zip(turns["ours"], turns["torch"])
            figures["time_to_torch"] = median(cost(a) / cost(b) for a, b in pairs)
        kit.partial = figures
    return figures
