"""The steps that check: the machine, conformance, golden logits, test programs."""

import json
import os
import re
import sys

from kit import farthest, run, tensor
from sides import Deadline, Failed, OverBudget, command

# Methods with the settings that one layer of 64 inputs and outputs needs, those that most runs use first.
METHODS = [("lora", {}), ("dora", {}), ("sdctft", {}), ("fourierft", {}), ("vera", {}), ("adalora", {}), ("c3a", {"block_size": 16}),
           ("ia3", {}), ("shira", {}), ("waveft", {}), ("loca", {}), ("ssh", {}), ("sine_lora", {}), ("deep_lora", {}), ("sift", {}),
           ("spiel", {}), ("smt", {}), ("gmt", {}), ("topk_grad", {}), ("ssf", {}), ("sll_lora", {})]
# A loss may differ by this share of what training changed it by, and by the rounding of a mean of two thousand products.
OF_CHANGE, ROUNDING = 1e-2, 5e-6
# Logits may differ by this share of the largest, as may losses of models.
OF_LOGITS = 1e-3
MODELS = [("llama_tiny", "causal", "cases.json"), ("llama_tiny_tied", "causal", "cases.json"), ("mamba_tiny", "ssm", "cases.json"),
          ("falcon_mamba_tiny", "ssm", "families.json"), ("mamba2_tiny", "ssm", "families.json"), ("gpt2_tiny", None, None)]
TARGETS = {"llama": ["q_proj", "v_proj"], "gpt2": ["c_attn"], "mamba": ["in_proj", "out_proj"], "mamba2": ["in_proj", "out_proj"],
           "falcon_mamba": ["in_proj", "out_proj"]}


def probe(kit, deadline):
    """What the machine has: driver, GPU, PyTorch, and whether the binary opens the device."""
    figures, problems = {"python": sys.version.split()[0], "cores": len(os.sched_getaffinity(0))}, []
    if kit.gpu:
        query = "name,driver_version,memory.total,compute_cap"
        try:
            status, output = command(["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader"], Deadline(15, deadline))
            figures["nvidia_smi"] = output.strip() if status == 0 else f"status {status}: {output.strip()[:200]}"
        except OSError as error:
            figures["nvidia_smi"] = f"not there: {error.strerror}"
        figures["libdevice"] = str(kit.cuda_path / "nvvm/libdevice/libdevice.10.bc") if kit.cuda_path else None
        if not kit.cuda_path:
            problems.append("no libdevice.10.bc: install a CUDA toolkit or triton, or set CUDA_PATH")
    try:
        figures["torch"] = kit.python("look.py", [], deadline)
        if kit.gpu and not figures["torch"]["cuda_available"]:
            problems.append("PyTorch sees no GPU")
    except Failed as error:
        problems.append(f"PyTorch's side does not run: {error}")
    for device in {kit.device, "cpu"}:
        try:
            with kit.ours(Deadline(60, deadline), device) as side:
                figures[f"peft-bench on {device}"] = {**side.ready["versions"], **side.ready.get("device", {})}
        except Failed as error:
            kit.unusable = kit.unusable or device == kit.device
            problems.append(str(error))
    peft = kit.bench.parent / "peft"
    if peft.is_file():
        _, figures["peft devices"] = command([str(peft), "devices"], Deadline(20, deadline), kit.environment())
    if problems:
        raise Failed("; ".join(problems), figures)
    return figures


class Both:
    """The binary on the device and on the CPU. One that ended is started again: what it did is recorded, and the rest goes on."""

    def __init__(self, kit, deadline):
        self.kit, self.deadline = kit, deadline
        self.sides = {}

    def side(self, device=None):
        found = self.sides.get(device)
        if found is None or found.process.poll() is not None:
            self.sides[device] = self.kit.ours(self.deadline, device)
        return self.sides[device]

    def each(self, names, compare):
        """What `compare` finds for each name, by name. It raises Failed, with all, where one failed, and OverBudget where the time
        was not enough."""
        figures, problems = {}, []
        try:
            for name in names:
                try:
                    figures[name], wrong = compare(name)
                    problems += [f"{name}: {words}" for words in wrong]
                except Failed as error:
                    figures[name] = {"error": str(error)}
                    problems.append(f"{name}: {error}")
        except OverBudget:
            left = ", ".join(name for name in names if name not in figures)
            raise OverBudget("; ".join([f"not reached: {left}", *problems]), figures) from None
        finally:
            for side in self.sides.values():
                side.__exit__(None, None, None)
        if problems:
            raise Failed("; ".join(problems), figures)
        return figures


def conformance(kit, deadline):
    """Losses of four steps with each method on the device against those on the CPU: forward, backward and the optimiser."""
    both, settings = Both(kit, deadline), dict(METHODS)

    def compare(name):
        setup = {"case": "linear", "features": 64, "batch": 2, "seq": 16, "adapter": name, "settings": settings[name],
                 "optimizer": True}
        expected = run(both.side("cpu"), setup, 4)["losses"]
        allowed = OF_CHANGE * (max(expected) - min(expected)) + ROUNDING
        found = farthest(run(both.side(), setup, 4)["losses"], expected)
        wrong = [] if found <= allowed else [f"differs by {found:.1e}, more than {allowed:.1e}"]
        return {"largest_difference": found, "allowed": allowed}, wrong

    return both.each(list(settings), compare)


def sequences(kit, folder, cases):
    if folder is None:
        return [[1, 5, 9, 3, 30, 7, 7, 12], [4, 2], [3, 10, 27, 22, 27, 10, 3, 6]]
    listed = json.loads((kit.goldens / folder / cases).read_text())["sequences"]
    return [entry["ids"] if isinstance(entry, dict) else entry for entry in listed]


def logits(kit, deadline):
    """Logits of tiny models on the device, against the CPU's and, where they are stored, transformers' in double precision; then
    losses of three training steps."""
    both, places = Both(kit, deadline), {name: (folder, cases) for name, folder, cases in MODELS}

    def compare(name):
        model, (folder, cases) = str(kit.goldens / name), places[name]
        found, expected = [], []
        for ids in sequences(kit, folder, cases):
            found += both.side().ask(op="logits", model=model, ids=ids)["logits"]
            expected += both.side("cpu").ask(op="logits", model=model, ids=ids)["logits"]
        largest = max(map(abs, expected))
        entry = {"of_cpu": farthest(found, expected) / largest}
        if folder is not None:
            golden = tensor(kit.goldens / folder / f"{name}.safetensors", "logits_f64")
            entry["of_golden"] = farthest(found, golden) / largest
        kind = json.loads((kit.goldens / name / "config.json").read_text())["model_type"]
        setup = {"case": "language_step", "model": model, "batch": 2, "seq": 16, "adapter": "lora", "rank": 4,
                 "targets": TARGETS[kind]}
        expected = run(both.side("cpu"), setup, 3)["losses"]
        entry["losses"] = farthest(run(both.side(), setup, 3)["losses"], expected) / max(map(abs, expected))
        wrong = [f"{key} {value:.1e} is more than {OF_LOGITS:.0e}" for key, value in entry.items() if not value <= OF_LOGITS]
        return {**entry, "allowed": OF_LOGITS}, wrong

    return both.each(list(places), compare)


def tests(kit, deadline):
    """The test programs that the kit carries, on the device; those of a kit without any are left out."""
    programs = sorted((kit.bench.parent / "tests").glob("*")) if kit.gpu else []
    if not programs:
        return None
    figures, problems = {}, []
    for program in programs:
        env = kit.environment(PEFT_TEST_DEVICE=kit.device.split(":")[0])
        try:
            status, output = command([str(program), "--test-threads=1"], deadline, env)
        except OverBudget:
            raise OverBudget(f"ended in {program.name}", figures) from None
        (kit.out / f"{program.name}.txt").write_text(output)
        counts = re.search(r"(\d+) passed; (\d+) failed", output)
        figures[program.name] = {"passed": int(counts[1]), "failed": int(counts[2])} if counts else {"status": status}
        if status != 0:
            failed = re.findall(r"^test (\S+) .*FAILED$", output, re.M)
            problems.append(f"{program.name} ended with status {status}: {', '.join(failed[:10]) or 'see its output'}")
    if problems:
        raise Failed("; ".join(problems), figures)
    return figures
