"""Random Qwen2 models and what PyTorch, Transformers and PEFT compute with them.

    python models.py draw <folder> <seed> <number>       one folder a model: checkpoint, adapter/, batch.json, expected.safetensors
    python models.py open <folder> <number>              opens saved/ and saved-adapter/, which were written elsewhere, and writes opened.json
"""
import json
import random
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import save_file
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig, Qwen2Config, Qwen2ForCausalLM
from transformers.generation.logits_process import RepetitionPenaltyLogitsProcessor

torch.set_num_threads(1)
ROOT = Path(sys.argv[2])


def draw_config(rng, i):
    kv = rng.choice([1, 1, 2, 3])
    heads, head_dim = kv * rng.choice([1, 2, 3, 7]), rng.choice([4, 8, 16])
    hidden = heads * head_dim if rng.random() < 0.6 else 2 * rng.randrange(6, 40)
    rope = {"rope_type": "default", "rope_theta": rng.choice([1e4, 1e6])}
    if i == 1:
        rope = {"rope_type": "yarn", "rope_theta": 1e6, "factor": 4.0, "original_max_position_embeddings": 16}
    # Shorter than the rows, so that it cuts: the last layers slide, or every second one.
    layers = rng.randrange(1, 5) if i != 4 else rng.randrange(2, 5)
    window = {}
    if i == 4:
        window = {"use_sliding_window": True, "sliding_window": rng.randrange(2, 12)}
        window |= rng.choice([{"max_window_layers": rng.randrange(layers)}, {"layer_types": [("sliding_attention", "full_attention")[n % 2] for n in range(layers)]}])
    return Qwen2Config(**window, vocab_size=rng.randrange(50, 400), hidden_size=hidden, intermediate_size=2 * rng.randrange(8, 80), num_hidden_layers=layers,
                       num_attention_heads=heads, num_key_value_heads=kv, head_dim=head_dim, max_position_embeddings=256, rope_parameters=rope,
                       tie_word_embeddings=i % 2 == 0, rms_norm_eps=rng.choice([1e-5, 1e-6]), attention_dropout=0.0, bos_token_id=None, eos_token_id=[1, 2], pad_token_id=0)


def model_dtype(i):
    return {2: torch.bfloat16, 3: torch.float16}.get(i, torch.float32)


def randomise(model, gen, scale):
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "norm" in name:
                p.copy_(1 + 0.2 * torch.randn(p.shape, generator=gen))
            else:
                p.copy_(scale * torch.randn(p.shape, generator=gen))


def cross_entropy(model, rows, scored):
    """Mean over the scored tokens of all rows, each row by itself."""
    total, count = 0, 0
    for row, positions in zip(rows, scored):
        logits = model(torch.tensor([row])).logits[0]
        for t in positions:
            total, count = total + F.cross_entropy(logits[t - 1], torch.tensor(row[t])), count + 1
    return total / count


def greedy(model, row, n, penalty=1.0):
    """Greedy continuation by full passes under a repetition penalty, and its first n tokens whose margin is far above rounding."""
    ids, sure = list(row), []
    for _ in range(n):
        logits = RepetitionPenaltyLogitsProcessor(penalty)(torch.tensor([ids]), model(torch.tensor([ids])).logits[:, -1].clone())[0]
        top = torch.topk(logits, 2).values
        if top[0] - top[1] < 1e-3:
            break
        ids.append(int(logits.argmax()))
        sure.append(ids[-1])
    return sure


def draw(folder, rng, gen, i):
    config = draw_config(rng, i)
    model = Qwen2ForCausalLM(config).eval()
    randomise(model, gen, rng.choice([0.05, 0.1, 0.2]))
    half = model_dtype(i) != torch.float32
    if half:
        model = model.to(model_dtype(i))
    model.save_pretrained(folder, max_shard_size="20KB" if i % 3 == 0 else "1GB")
    # Computed in float32 on the weights as stored. Read again, as a cast rounds the rotary frequencies too.
    model = Qwen2ForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    V = config.vocab_size
    # Without the padding token: PyTorch gives its embedding no gradient, wherever it stands.
    rows = [[rng.randrange(1, V) for _ in range(rng.randrange(least, 60))] for least in (6, 6, 24, 6)]
    rows[3] = rows[2][:20] + [rng.randrange(1, V) for _ in range(rng.randrange(1, 20))]  # two that begin alike, as siblings do
    scored = [sorted(rng.sample(range(1, len(row)), rng.randrange(1, len(row)))) for row in rows]
    out = {}
    with torch.no_grad():
        for b, row in enumerate(rows):
            out[f"logits.{b}"] = model(torch.tensor([row])).logits[0]
            out[f"logprobs.{b}"] = torch.log_softmax(out[f"logits.{b}"][:-1], -1).gather(1, torch.tensor(row[1:])[:, None])[:, 0]
        continuations = [greedy(model, row, 24) for row in rows]
        penalized = [greedy(model, row, 24, 1.3) for row in rows]
    loss = cross_entropy(model, rows, scored)
    loss.backward()
    for name, p in model.named_parameters():
        out[f"grad.{name}"] = p.grad.clone()
    model.zero_grad()

    rank = rng.choice([1, 2, 5])
    some = rng.random() < 0.5
    lora = get_peft_model(Qwen2ForCausalLM.from_pretrained(folder, dtype=torch.float32), LoraConfig(
        r=rank, lora_alpha=rng.choice([1, 8, 16]), use_rslora=i == 3, task_type="CAUSAL_LM",
        target_modules=["q_proj", "down_proj"] if some else ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]))
    with torch.no_grad():
        for name, p in lora.named_parameters():
            if "lora_" in name:
                p.copy_(0.1 * torch.randn(p.shape, generator=gen))
    lora.save_pretrained(folder / "adapter")
    lora.eval()
    cross_entropy(lora, rows, scored).backward()
    for name, p in lora.named_parameters():
        if p.grad is not None:
            out["lora.grad." + name.replace("base_model.model.", "").replace(".default", "")] = p.grad.clone()
    with torch.no_grad():
        out["lora.logits"] = lora(torch.tensor([rows[0]])).logits[0]
        out["lora.merged"] = lora.merge_and_unload()(torch.tensor([rows[0]])).logits[0]

    if half:
        # As stored: PEFT adds in float32 and rounds to 16 bits again.
        merged = PeftModel.from_pretrained(Qwen2ForCausalLM.from_pretrained(folder, dtype=model_dtype(i)), folder / "adapter").merge_and_unload()
        for name, p in merged.named_parameters():
            out[f"merged.{name}"] = p.detach().clone()

    trained = Qwen2ForCausalLM.from_pretrained(folder, dtype=torch.float32)
    optimizer = torch.optim.AdamW(trained.parameters(), lr=1e-3, betas=(0.9, 0.99), eps=1e-4, weight_decay=0.01)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        value = cross_entropy(trained, rows, scored)
        value.backward()
        torch.nn.utils.clip_grad_norm_(trained.parameters(), 1.0)
        optimizer.step()
        losses.append(float(value))
    for name, p in trained.named_parameters():
        out[f"trained.{name}"] = p.detach().clone()
    save_file({k: v.detach().float().contiguous() for k, v in out.items()}, folder / "expected.safetensors")
    # What a checkpoint says beside its weights; after `generate`, which would heed it.
    said = json.loads((folder / "config.json").read_text()) | {"initializer_range": 0.03, "a_note": {"of": "ours"}}
    (folder / "config.json").write_text(json.dumps(said))
    GenerationConfig(do_sample=True, eos_token_id=[1, 2], top_k=7, repetition_penalty=1.1, max_new_tokens=9).save_pretrained(folder)
    (folder / "batch.json").write_text(json.dumps({"rows": rows, "scored": scored, "continuations": continuations, "penalized": penalized, "loss": float(loss), "losses": losses, "half": {2: "BF16", 3: "F16"}.get(i),
                                                   "about": f"{config.num_hidden_layers} layers, {config.num_attention_heads}/{config.num_key_value_heads} heads of {config.head_dim}, width {config.hidden_size}, "
                                                            f"{'tied' if config.tie_word_embeddings else 'untied'}, {config.rope_parameters['rope_type']}, {f'window {config.sliding_window}, ' if config.sliding_window else ''}{'bfloat16' if i == 2 else 'float16' if half else 'float32'}"}))


def says_the_same(folder):
    """What Transformers reads in a saved folder beside the weights, held to what it reads in the first one."""
    before, after = (AutoConfig.from_pretrained(each).to_dict() for each in (folder, folder / "saved"))
    # Written anew: how it is stored, that nothing slides or is scaled.
    anew = {"dtype", "transformers_version", "_name_or_path", "architectures", "max_window_layers", "rope_parameters", "sliding_window", "use_sliding_window"}
    different = {key for key in before if before[key] != after.get(key)} - anew
    assert not different, f"{folder}: config.json says otherwise: {different}"
    assert before["rope_parameters"]["rope_theta"] == after["rope_parameters"]["rope_theta"]
    before, after = (GenerationConfig.from_pretrained(each).to_dict() for each in (folder, folder / "saved"))
    own = AutoConfig.from_pretrained(folder)
    ends = [1, 2] + [end for end in [own.eos_token_id] if isinstance(end, int) and end not in (1, 2)]
    assert after["eos_token_id"] == ends, f"{folder}: ends at {after['eos_token_id']}, expected {ends}"
    different = {key for key in before if before[key] != after.get(key)} - {"eos_token_id", "pad_token_id", "transformers_version"}
    assert not different, f"{folder}: generation_config.json says otherwise: {different}"


def opened(folder):
    says_the_same(folder)
    rows = json.loads((folder / "batch.json").read_text())["rows"]
    model = AutoModelForCausalLM.from_pretrained(folder / "saved", dtype=torch.float32).eval()
    adapted = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(folder / "saved", dtype=torch.float32), folder / "saved-adapter").eval()
    merged = [AutoModelForCausalLM.from_pretrained(folder / "saved-merged", dtype=torch.float32).eval()] if (folder / "saved-merged").exists() else []
    with torch.no_grad():
        return [m(torch.tensor([rows[0]])).logits[0].flatten().tolist() for m in (model, adapted, *merged)]


if sys.argv[1] == "draw":
    for i in range(int(sys.argv[4])):
        draw(ROOT / str(i), random.Random(int(sys.argv[3]) + i), torch.Generator().manual_seed(int(sys.argv[3]) + i), i)
else:
    for i in range(int(sys.argv[3])):
        (ROOT / str(i) / "opened.json").write_text(json.dumps(opened(ROOT / str(i))))
