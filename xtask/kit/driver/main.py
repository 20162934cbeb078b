"""Runs the kit's steps in order, each within its budget: a step that fails or overruns is recorded, and the next goes on.

Exit status: 0 if all passed, 1 if a step failed or overran, 2 if nothing could be run.
"""

import argparse
import json
import shutil
import sys
import time
from pathlib import Path

import checks
import report
import speed
from kit import HERE, Kit
from sides import Deadline, Failed, OverBudget

# Name, what it does, seconds.
STEPS = [("probe", checks.probe, 90), ("conformance", checks.conformance, 130), ("logits", checks.logits, 70),
         ("kernels", speed.kernels, 90), ("bert", speed.bert, 70), ("llama", speed.llama, 110), ("tests", checks.tests, 60)]


def arguments():
    names = [name for name, _, _ in STEPS]

    def steps(text):
        chosen = text.split(",")
        unknown = [name for name in chosen if name not in names]
        if unknown:
            raise argparse.ArgumentTypeError(f"no step is called {unknown[0]}; there are {', '.join(names)}")
        return chosen

    parser = argparse.ArgumentParser(prog="run.sh", description="Checks and measures on this machine; see README.md.")
    parser.add_argument("out", type=Path, metavar="OUT", help="folder for result.json, result.md and messages.txt")
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N, or cpu, which does small shapes, to see that it runs")
    parser.add_argument("--steps", type=steps, default=names, metavar="NAMES", help=f"only these, of {','.join(names)}")
    parser.add_argument("--limit", type=float, default=570, metavar="SECONDS", help="all steps together (default 570)")
    parser.add_argument("--turns", type=int, default=10, help="turns of each side of a comparison (default 10)")
    parser.add_argument("--keep", action="store_true", help="keep the checkpoints that were made")
    return parser.parse_args()


def attempt(kit, name, action, seconds):
    """One step, as the result tells it."""
    began = time.monotonic()
    entry = {"name": name, "budget_s": seconds}
    kit.partial = None
    try:
        figures = action(kit, Deadline(seconds, kit.deadline))
        entry.update(status="left out" if figures is None else "passed", figures=figures)
    except (OverBudget, Failed) as error:
        # What was found before it ended comes with it.
        status = "failed" if isinstance(error, Failed) else "over budget"
        words, figures = (*error.args, None, None)[:2]
        entry.update(status=status, error=words or "", figures=figures or kit.partial)
    except Exception as error:  # Whatever it is, the next step goes on.
        entry.update(status="failed", error=f"{type(error).__name__}: {error}", figures=kit.partial)
    entry["seconds"] = time.monotonic() - began
    return entry


def main():
    wanted = arguments()
    try:
        wanted.out.mkdir(parents=True, exist_ok=True)
        kit = Kit(wanted.device, wanted.out.resolve(), Deadline(wanted.limit), wanted.turns)
        manifest = json.loads((HERE / "manifest.json").read_text()) if (HERE / "manifest.json").is_file() else {}
    except OSError as error:
        print(f"cannot begin: {error}", file=sys.stderr)
        return 2
    if not kit.bench.is_file():
        print(f"there is no {kit.bench}: the kit is not whole", file=sys.stderr)
        return 2
    result = {"kit": manifest, "device": wanted.device, "small": not kit.gpu, "steps": []}
    for name, action, seconds in STEPS:
        if name not in wanted.steps:
            continue
        print(f"{name} …", flush=True)
        entry = attempt(kit, name, action, seconds)
        result["steps"].append(entry)
        print(f"{name}: {entry['status']} in {entry['seconds']:.0f} s {entry.get('error', '')}", flush=True)
        report.save(kit.out, result)
        if kit.unusable:
            break
    if not wanted.keep:
        shutil.rmtree(kit.work, ignore_errors=True)
    print(kit.out / "result.md")
    if kit.unusable:
        print(f"peft-bench does not run on {wanted.device}: the other steps are left out", file=sys.stderr)
        return 2
    return 0 if all(entry["status"] in ("passed", "left out") for entry in result["steps"]) else 1


if __name__ == "__main__":
    sys.exit(main())
