"""The same works in PyTorch and Transformers on the same card: python3 torch_side.py '<works as JSON>' [seconds]. A line of JSON a result."""
import json
import sys
import time

import torch
from transformers import Qwen2Config, Qwen2ForCausalLM
from transformers.cache_utils import DynamicCache

DEVICE = 'cuda' if torch.cuda.is_available() else 'cpu'
MODES = {'float32': ('highest', torch.float32), 'tf32': ('high', torch.float32), 'bfloat16': ('high', torch.bfloat16)}


def finish():
    if DEVICE == 'cuda':
        torch.cuda.synchronize()


def tell(**result):
    print(json.dumps(result), flush=True)


def seconds_each(times, call):
    call()
    finish()
    best = float('inf')
    for _ in range(3):
        start = time.perf_counter()
        for _ in range(times):
            call()
        finish()
        best = min(best, (time.perf_counter() - start) / times)
    return best


def mat_mul(n, times, mode):
    precision, dtype = MODES[mode]
    torch.set_float32_matmul_precision(precision)
    a, b = (torch.rand(n, n, device=DEVICE, dtype=dtype) * 2 - 1 for _ in range(2))
    return 2 * n**3 / seconds_each(times, lambda: a @ b) / 1e12


def bandwidth(megabytes, times):
    x, y, z = (torch.zeros(megabytes * 2**18, device=DEVICE) for _ in range(3))
    return 3 * megabytes * 2**20 / seconds_each(times, lambda: torch.add(x, y, out=z)) / 1e9


def model_of(config, dtype):
    torch.manual_seed(1)
    qwen = Qwen2Config(
        vocab_size=config['vocabSize'],
        hidden_size=config['hiddenSize'],
        intermediate_size=config['intermediateSize'],
        num_hidden_layers=config['layers'],
        num_attention_heads=config['heads'],
        num_key_value_heads=config['kvHeads'],
        head_dim=config['headDim'],
        tie_word_embeddings=True,
        attn_implementation='sdpa',
    )
    with torch.device(DEVICE):
        return Qwen2ForCausalLM(qwen).to(dtype)


@torch.no_grad()
def sample(model, prompts, drawn):
    cache = DynamicCache(config=model.config)
    tokens, log_probs, given = [], [], prompts
    for _ in range(drawn):
        logits = model(given, past_key_values=cache, use_cache=True, logits_to_keep=1).logits[:, -1].float()
        distribution = torch.log_softmax(logits, -1)
        given = torch.multinomial(distribution.exp(), 1)
        tokens.append(given)
        log_probs.append(distribution.gather(1, given))
        given[0, 0].item()  # the environment looks at each token
    return torch.cat(tokens, 1), torch.cat(log_probs, 1)


def log_probs_of(model, ids, drawn):
    logits = model(ids[:, :-1], logits_to_keep=drawn).logits.float()
    return torch.log_softmax(logits, -1).gather(2, ids[:, -drawn:, None])[..., 0]


def step(model, optimizer, work, prompts):
    start = time.perf_counter()
    drawn, old = sample(model, prompts, work['drawn'])
    finish()
    sampled = time.perf_counter()
    ids = torch.cat([prompts, drawn], 1)
    parts = max(1, ids.numel() // 4096)
    with torch.no_grad():
        reference = torch.cat([log_probs_of(model, part, work['drawn']) for part in ids.chunk(parts)])
    finish()
    scored = time.perf_counter()
    advantages = torch.tensor([1.0 if i % 2 else -1.0 for i in range(len(ids))], device=DEVICE)[:, None]
    batches = [t.chunk(work['miniBatches']) for t in (ids, old, reference, advantages)]
    for whole in zip(*batches):
        for some, past, base, advantage in zip(*(t.chunk(max(1, whole[0].numel() // 4096)) for t in whole)):
            now = log_probs_of(model, some, work['drawn'])
            ratio = (now - past).exp()
            surrogate = torch.minimum(ratio * advantage, ratio.clamp(0.8, 1.2) * advantage)
            kl = (base - now).exp() - (base - now) - 1
            ((-surrogate + 0.001 * kl).sum() / whole[1].numel()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0).item()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    finish()
    return sampled - start, scored - sampled, time.perf_counter() - scored


def grpo(work, mode):
    rounds = work['rounds']
    precision, dtype = MODES[mode]
    torch.set_float32_matmul_precision(precision)
    model = model_of(work['config'], dtype)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-6, weight_decay=0, fused=DEVICE == 'cuda')
    prompts = torch.randint(work['config']['vocabSize'], (work['sequences'], work['prompt']), device=DEVICE)
    times = [step(model, optimizer, work, prompts) for _ in range(rounds + 1)][1 if rounds else 0 :]
    sampling, reference, training = (min(part) for part in zip(*times))
    total = sampling + reference + training
    drawn, read = work['sequences'] * work['drawn'], work['sequences'] * (work['prompt'] + work['drawn'])
    return {
        'sampling': sampling,
        'reference': reference,
        'training': training,
        'step': total,
        'drawnPerSecond': drawn / sampling,
        'trainedPerSecond': read / training,
        'stepTokensPerSecond': drawn / total,
        'trainingTeraflops': work['flops'] / training / 1e12,
        'bytes': torch.cuda.max_memory_allocated() if DEVICE == 'cuda' else None,
    }


def main():
    works = json.loads(sys.argv[1])
    until = time.perf_counter() + (float(sys.argv[2]) if len(sys.argv) > 2 else 1e9)
    import transformers

    device = torch.cuda.get_device_name() if DEVICE == 'cuda' else 'CPU'
    tell(kind='versions', torch=torch.__version__, transformers=transformers.__version__, cuda=torch.version.cuda, device=device)
    for n, times in works['matMul']:
        for mode in MODES:
            tell(kind='matMul', n=n, mode=mode, teraflops=mat_mul(n, times, mode))
    tell(kind='bandwidth', gigabytes=bandwidth(works['megabytes'], 20))
    for mode in ('float32', 'bfloat16', 'tf32'):  # the first is what ours is compared with
        for work in works['grpo']:
            if time.perf_counter() > until:
                tell(kind='skipped', name=work['name'], mode=mode)
                continue
            try:
                tell(kind='grpo', name=work['name'], mode=mode, **grpo(work, mode))
            except Exception as error:
                tell(kind='failed', name=work['name'], mode=mode, error=f'{type(error).__name__}: {error}'[:300])
            if DEVICE == 'cuda':
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats()


if __name__ == '__main__':
    main()
