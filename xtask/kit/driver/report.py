"""The result as JSON and as a short table in Markdown, written anew after each step, so that what is there survives a kill."""

import json
import os


def write(path, text):
    """In one step: a reader never sees half of it."""
    new = path.with_suffix(path.suffix + ".new")
    new.write_text(text)
    os.replace(new, path)


def finite(value):
    """JSON has no infinities."""
    if isinstance(value, dict):
        return {key: finite(entry) for key, entry in value.items()}
    if isinstance(value, float) and (value != value or abs(value) == float("inf")):
        return None
    return value


def plain(text):
    return " ".join(str(text).split()).replace("|", "/")[:400]


def number(value, digits=1, scale=1.0):
    return "" if value is None else f"{value * scale:,.{digits}f}"


def save(out, result):
    write(out / "result.json", json.dumps(finite(result), indent=1) + "\n")
    write(out / "result.md", markdown(result))


def markdown(result):
    steps = {step["name"]: step for step in result["steps"]}
    lines = ["# Checks and measurements on a device", "",
             f"Built from commit {result['kit'].get('commit', 'unknown')}; device {result['device']}.", ""]
    probe = steps.get("probe", {}).get("figures", {})
    told = probe.get(f"peft-bench on {result['device']}", {})
    names = [told.get("name") or told.get("device"), probe.get("nvidia_smi"), versions(probe.get("torch"))]
    lines += [f"- {plain(name)}" for name in names if name]
    if result["small"]:
        lines += ["", "**Small shapes, to see that it runs: nothing to conclude from.**"]
    lines += ["", "| step | result | seconds | |", "|---|---|--:|---|"]
    for step in result["steps"]:
        lines.append(f"| {step['name']} | {step['status']} | {step['seconds']:.0f} | {plain(step.get('error') or '')} |")
    lines += against(steps) + kernels(steps.get("kernels", {}).get("figures"))
    return "\n".join(lines) + "\n"


def versions(torch):
    return torch and ", ".join(f"{name} {torch[name]}" for name in ("torch", "transformers", "peft") if torch.get(name))


def against(steps):
    lines = []
    for name in ("bert", "llama"):
        figures = steps.get(name, {}).get("figures") or {}
        for side, found in figures.get("sides", {}).items():
            once = figures if side == "ours" else {}
            device = found.get("device_bytes") or found.get("process_on_gpu_bytes")
            lines.append(f"| {name if once else ''} | {side} | {number(once.get('parameters'), 2, 1e-6)} | {number(found.get('step_ms'), 2)}"
                         f" | {number(found.get('tokens_per_s'), 0)} | {number(once.get('time_to_torch'), 2)} | {number(device, 0, 1e-6)}"
                         f" | {number(found.get('process_on_gpu_bytes'), 0, 1e-6)} | {number(found.get('resident_bytes'), 0, 1e-6)} |")
    if not lines:
        return []
    return ["", "Training steps with LoRA in bf16. Ours keeps the frozen matrices in bf16 and all else in f32; PyTorch's model is in bf16,"
            " with autocast.", "", "| model | side | parameters, M | step, ms | tokens/s | ours to PyTorch's time | device pools, MB |"
            " on the GPU by nvidia-smi, MB | process, MB |", "|---|---|--:|--:|--:|--:|--:|--:|--:|", *lines]


def kernels(figures):
    variants = {name: entry for name, entry in (figures or {}).items() if isinstance(entry, dict) and entry}
    if not variants:
        return []
    names = list(dict.fromkeys(name for entry in variants.values() for name in entry))
    lines = ["", "Milliseconds a step:", "", "| | " + " | ".join(names) + " |", "|---|" + "--:|" * len(names)]
    for variant, entry in variants.items():
        cells = [number(entry.get(name, {}).get("ms"), 3) for name in names]
        lines.append(f"| {variant} | " + " | ".join(cells) + " |")
    return lines
