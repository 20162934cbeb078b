"""What all steps share: where things are, how the sides are started, and small sums."""

import json
import os
import statistics
import struct
import sys
import threading
from pathlib import Path

from sides import Deadline, Failed, OverBudget, Side, command, last_line

HERE = Path(__file__).resolve().parent.parent


class Kit:
    """The folder of the kit, the device, and the place for results."""

    def __init__(self, device, out, deadline, turns):
        self.device, self.out, self.deadline, self.turns = device, out, deadline, turns
        self.bench = HERE / "bin" / "peft-bench"
        self.goldens = HERE / "goldens"
        self.work = out / "work"
        self.work.mkdir(parents=True, exist_ok=True)
        self.log = out / "messages.txt"
        self.gpu = device != "cpu"
        # Whether the binary does not start on the device, and what a step found before it ended.
        self.unusable, self.partial = False, None
        self.cuda_path = toolkit(self.work) if self.gpu else None

    def environment(self, device=None, **more):
        env = dict(os.environ, PEFT_BENCH_DEVICE=device or self.device, **more)
        if self.cuda_path:
            env["CUDA_PATH"] = str(self.cuda_path)
        # Of the machine that built the kit; behind what the user names.
        folders = [env.get("LD_LIBRARY_PATH"), str(HERE / "lib")]
        env["LD_LIBRARY_PATH"] = ":".join(filter(None, folders))
        return env

    def ours(self, deadline, device=None, **more):
        name = f"peft-bench on {device or self.device}"
        return Side(name, [str(self.bench)], self.environment(device, **more), self.log, deadline)

    def torch(self, deadline):
        env = dict(os.environ, PEFT_ANY_VERSIONS="1", HF_HUB_OFFLINE="1")
        return Side("torch", [sys.executable, str(HERE / "python" / "torch_bench.py")], env, self.log, deadline)

    def python(self, script, arguments, deadline):
        """Runs one of the kit's scripts; returns the JSON object that it prints last."""
        env = dict(os.environ, HF_HUB_OFFLINE="1")
        with open(self.log, "a") as log:
            status, output = command([sys.executable, str(HERE / "python" / script), *map(str, arguments)], deadline, env, log)
        if status != 0:
            raise Failed(f"{script} ended with status {status}: {last_line(self.log)}")
        return json.loads(output.strip().splitlines()[-1])


def toolkit(work):
    """A folder for CUDA_PATH. The compiler inside of the binary reads one file of a CUDA toolkit, libdevice.10.bc; where no toolkit
    is installed, PyTorch's packages hold a copy. None where there is none."""
    part = Path("nvvm") / "libdevice" / "libdevice.10.bc"
    given = os.environ.get("CUDA_PATH")
    for root in ([given] if given else []) + ["/usr/local/cuda", "/opt/cuda", "/usr/lib/cuda", "/usr"]:
        if (Path(root) / part).is_file():
            return Path(root)
    for folder in map(Path, sys.path):
        if not folder.is_dir():
            continue
        copies = [folder / "triton/backends/nvidia/lib/libdevice.10.bc"]
        copies += sorted(folder.glob("nvidia/*/nvvm/libdevice/libdevice.10.bc"))
        for copy in copies:
            if copy.is_file():
                place = work / "cuda" / part
                place.parent.mkdir(parents=True, exist_ok=True)
                if not place.is_symlink():
                    place.symlink_to(copy)
                return work / "cuda"
    return None


def tensor(path, name):
    """The values of a tensor of doubles in a safetensors file."""
    data = Path(path).read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    entry = json.loads(data[8:8 + length])[name]
    if entry["dtype"] != "F64":
        raise Failed(f"{path}: {name} is of {entry['dtype']}, not of F64")
    begin, stop = (8 + length + offset for offset in entry["data_offsets"])
    return list(struct.unpack(f"<{(stop - begin) // 8}d", data[begin:stop]))


def farthest(found, expected):
    """The largest difference of two lists; infinite where one is no number or the lengths differ."""
    if len(found) != len(expected):
        return float("inf")
    differences = [abs(a - b) if a is not None and b is not None else float("inf") for a, b in zip(found, expected)]
    return max((d if d == d else float("inf") for d in differences), default=0.0)


def run(side, setup, iterations, **more):
    """Sets up a case and does some steps of it."""
    side.ask(op="setup", **setup)
    return side.ask(op="run", iterations=iterations, sample_memory=False, **more)


def cost(answer):
    """Seconds a token."""
    return sum(answer["times_s"]) / sum(answer["real_tokens"])


def median(values):
    return statistics.median(values)


class ProcessMemory:
    """The most that a process holds on the GPU as nvidia-smi tells it, asked again and again while the `with` lasts: the same
    measure for both sides, the driver's context included. None where it does not tell."""

    def __init__(self, pid, deadline):
        self.pid, self.deadline, self.peak = pid, deadline, None
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.loop, daemon=True)

    def loop(self):
        query = ["nvidia-smi", "--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits"]
        while not self.stop.is_set():
            try:
                status, output = command(query, Deadline(5, self.deadline))
            except (OSError, OverBudget):
                return
            for line in output.splitlines() if status == 0 else []:
                words = [word.strip() for word in line.split(",")]
                if len(words) == 2 and words[0] == str(self.pid) and words[1].isdigit():
                    self.peak = max(self.peak or 0, int(words[1]) << 20)
            self.stop.wait(0.05)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join(timeout=6)
