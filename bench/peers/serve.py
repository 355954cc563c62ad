"""The peers' side of the bench: PyTorch, Transformers, PEFT and TRL behind the messages of job.py."""

import os
import platform
import sys
import traceback
from importlib.metadata import version

from job import Job, memory

job = Job()
start = memory()

import torch  # noqa: E402  (after the first look at the memory)

torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))


def mat_mul(n):
    """GFLOP/s of an n x n x n product, the best of several runs over 0.5 s."""
    import time

    a, b = torch.rand(n, n), torch.rand(n, n)
    best, until = float("inf"), time.perf_counter() + 0.5
    while time.perf_counter() < until:
        started = time.perf_counter()
        torch.mm(a, b)
        best = min(best, time.perf_counter() - started)
    return 2 * n**3 / best / 1e9


def work_named(name):
    if name in ("grpo", "search"):
        import trl_works

        return getattr(trl_works, name)
    import torch_works

    return getattr(torch_works, name)


packages = {name: version(name) for name in ("torch", "transformers", "peft", "trl")}
job.send({"versions": {"python": platform.python_version(), **packages}, "backend": f"torch on {torch.backends.cpu.get_cpu_capability()}", **start})
while (message := job.read()) is not None:
    try:
        if message["do"] == "matMul":
            job.send({"gflops": mat_mul(message["n"])})
        elif message["do"] == "prepare":
            work_named(message["work"])(job, message["folder"], message["params"])
            job.send({"dropped": True})
        else:
            raise ValueError(f"unknown message {message}")
    except Exception as error:
        traceback.print_exc(file=sys.stderr)
        job.send({"error": f"{type(error).__name__}: {error}"})
