"""Peak resident memory of this process, anonymous part sampled by a thread."""

import resource
import threading


def rss_anon():
    """Anonymous resident bytes now (RssAnon of /proc/self/status): without files mapped from disk."""
    with open("/proc/self/status") as status:
        for line in status:
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
    return 0


def peak_rss():
    """Highest resident bytes of the process so far, mapped files included."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


class Sampler:
    """`with Sampler() as s: …; s.peak` is the highest rss_anon seen at the given interval in seconds.

    With interval None no thread runs: the greater of before and after.
    """

    def __init__(self, interval=0.005):
        self.interval, self.peak = interval, 0
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.loop, daemon=True)

    def loop(self):
        while not self.stop.is_set():
            self.peak = max(self.peak, rss_anon())
            self.stop.wait(self.interval)

    def __enter__(self):
        self.peak = rss_anon()
        if self.interval is not None:
            self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        if self.interval is not None:
            self.thread.join()
        self.peak = max(self.peak, rss_anon())
