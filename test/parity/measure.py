"""What a checkpoint costs in Transformers on this CPU: as measure.mjs, once in float32 and once in bfloat16, each in a process of its own.

    python measure.py <folder> <prompt tokens> <new tokens> [float32|bfloat16]
"""
import json
import os
import resource
import subprocess
import sys
import time

if len(sys.argv) == 4:
    for dtype in ("float32", "bfloat16"):
        subprocess.run([sys.executable, *sys.argv, dtype], check=True)
    sys.exit()

import torch  # noqa: E402
from peft import LoraConfig, get_peft_model  # noqa: E402
from transformers import AutoModelForCausalLM  # noqa: E402

folder, prompt_length, written, dtype = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]


def timed(work):
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def megabytes():
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6)


load, model = timed(lambda: AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype)).eval())
after_load = megabytes()
ids = torch.randint(0, 150_000, (1, prompt_length), generator=torch.Generator().manual_seed(1))
generate = lambda n: model.generate(ids, max_new_tokens=n, min_new_tokens=n, do_sample=False, attention_mask=torch.ones_like(ids))  # noqa: E731
with torch.no_grad():
    generate(1)
    prefill, _ = timed(lambda: generate(1))
    whole, _ = timed(lambda: generate(written + 1))
inference = megabytes()
model = get_peft_model(model, LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM"))
optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-5)
batch = torch.randint(0, 150_000, (8, 64), generator=torch.Generator().manual_seed(2))
advantages = torch.tensor([1.0, -1.0] * 4)[:, None]


def step():
    logits = model(batch, logits_to_keep=33).logits[:, :-1].float()
    logps = torch.log_softmax(logits, -1).gather(-1, batch[:, 32:, None])[..., 0]
    old = ref = torch.full_like(logps, -12)
    ratio = torch.exp(logps - old)
    kl = torch.exp(ref - logps) - (ref - logps) - 1
    loss = (-torch.min(ratio * advantages, ratio.clamp(0.8, 1.2) * advantages) + 0.001 * kl).mean()
    loss.backward()
    torch.nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], 1.0)
    optimizer.step()


seconds, _ = timed(step)
print(json.dumps({
    "side": f"transformers, {dtype}", "threads": torch.get_num_threads(), "loadSeconds": round(load, 2), "residentAfterLoadMB": after_load, "peakInferenceMB": inference,
    "prefillTokensPerSecond": round(prompt_length / prefill, 1), "decodeTokensPerSecond": round(written / (whole - prefill), 2),
    "loraGrpoStepSeconds": round(seconds, 1), "peakMB": megabytes(), "otherLoad": round(os.getloadavg()[0], 2)}))
