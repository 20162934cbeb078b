"""The two sides of the kit: processes that take one JSON command a line and answer one JSON line each, with a deadline on each
answer. `peft-bench` and `torch_bench.py` speak the same protocol, which the latter documents."""

import json
import os
import queue
import signal
import subprocess
import threading
import time


class OverBudget(Exception):
    """A step's time is up: in what, and what was found before."""


class Failed(Exception):
    """A side answered with an error, or ended, or a figure is out of bounds: the words, and what was found before."""

    def __str__(self):
        return str(self.args[0])


class Deadline:
    def __init__(self, seconds, outer=None):
        self.end = time.monotonic() + seconds
        if outer is not None:
            self.end = min(self.end, outer.end)

    def left(self):
        """Seconds that are left; raises OverBudget where there are none."""
        left = self.end - time.monotonic()
        if left <= 0:
            raise OverBudget
        return left


def end(process):
    """Ends a process and what it started: each leads a group of its own."""
    if process.poll() is None:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    process.wait()


def command(arguments, deadline, env=None, log=None):
    """Runs a command to its end; returns its exit status and what it printed, messages included unless they go to `log`."""
    process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log or subprocess.STDOUT,
                               env=env, start_new_session=True, text=True, errors="replace")
    try:
        output, _ = process.communicate(timeout=deadline.left())
    except subprocess.TimeoutExpired:
        raise OverBudget from None
    finally:
        end(process)
    return process.returncode, output


# Seconds after which a side that does not answer is taken for stuck: a driver that fails may leave a process waiting for ever.
PATIENCE = 90


class Side:
    """A process that answers; its messages go to a file. To be used with `with`, which ends it."""

    def __init__(self, name, arguments, env, log, deadline):
        self.name, self.log, self.deadline = name, log, deadline
        with open(log, "a") as messages:
            self.process = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=messages, env=env,
                                            start_new_session=True, text=True, errors="replace")
        self.lines = queue.SimpleQueue()
        threading.Thread(target=self.read, daemon=True).start()
        try:
            self.ready = self.answer()
            if self.ready.get("ready") is not True:
                raise Failed(f"{name}: {self.ready.get('error', self.ready)}")
        except BaseException:
            end(self.process)
            raise

    def read(self):
        for line in self.process.stdout:
            self.lines.put(line)
        self.lines.put(None)

    def answer(self):
        try:
            line = self.lines.get(timeout=min(self.deadline.left(), PATIENCE))
        except queue.Empty:
            self.deadline.left()
            end(self.process)
            raise Failed(f"{self.name} did not answer within {PATIENCE} s: {last_line(self.log)}") from None
        if line is None:
            status = self.process.wait()
            raise Failed(f"{self.name} ended with status {status}: {last_line(self.log)}")
        try:
            return json.loads(line)
        except ValueError:
            raise Failed(f"{self.name} said {line[:200]!r}, which is not JSON") from None

    def ask(self, **request):
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
        except OSError:
            pass  # The answer that does not come says that it ended.
        answer = self.answer()
        if answer.get("ok") is not True:
            raise Failed(f"{self.name}: {answer.get('error', answer)}")
        return answer

    def __enter__(self):
        return self

    def __exit__(self, *_):
        end(self.process)
        for pipe in (self.process.stdin, self.process.stdout):
            try:
                pipe.close()
            except OSError:
                pass


def last_line(path):
    """What a file of messages last says of an error: a panic's or an error's own line, else the last."""
    try:
        with open(path, errors="replace") as file:
            lines = [line.strip() for line in file if line.strip()]
    except OSError:
        return ""
    for place in range(len(lines) - 1, max(len(lines) - 200, -1), -1):
        if lines[place].startswith("Error:"):
            return lines[place][:300]
        if " panicked at " in lines[place]:
            # The place stands on this line, the words on the next.
            return " ".join(lines[place:place + 2])[:300]
    return lines[-1][:300] if lines else ""
