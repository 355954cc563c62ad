"""One side of the bench as a process: messages are lines of JSON, in on stdin, out on the stdout it was started with.

    {"do": "prepare", "work": name, "folder": model, "params": {...}}  ->  {"check": {...}}
    {"do": "run"}   ->  {"seconds": s, "rss": bytes, "peak": bytes}      one repetition, timed here
    {"do": "drop"}  ->  {"dropped": true}                                back to the start

A work is a function `work(job, folder, params)`: it prepares, calls `job.checked`, then repeats itself as long as `job.again()`. The clock runs between
`again` and `done`, so a work that lives inside somebody else's training loop (TRL's) is timed exactly as one that is a loop of its own.
"""

import json
import os
import resource
import sys
import time


class Dropped(Exception):
    """Leaves a training loop that belongs to a library."""


class Job:
    def __init__(self):
        self._out = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)  # whatever a library prints goes to stderr
        self._start = 0.0

    def read(self):
        line = sys.stdin.readline()
        return json.loads(line) if line else None

    def send(self, message):
        self._out.write(json.dumps(message) + "\n")
        self._out.flush()

    def checked(self, check):
        self.send({"check": check})

    def again(self):
        message = self.read()
        if message is None or message["do"] == "drop":
            return False
        self._start = time.perf_counter()
        return True

    def done(self, repetitions=1):
        seconds = (time.perf_counter() - self._start) / repetitions
        self.send({"seconds": seconds, **memory()})


def memory():
    """Resident bytes now and at most so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            rss = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        rss = peak
    return {"rss": rss, "peak": peak}
