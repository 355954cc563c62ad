"""Training, LoRA, sampling and self-distillation, as one writes them in PyTorch, PEFT and Transformers."""

import torch
import torch.nn.functional as F
from models import adamw, adapted, load, scored_logits


def training(job, folder, params):
    _cross_entropy(job, load(folder), params)


def lora(job, folder, params):
    _cross_entropy(job, adapted(load(folder), params["adapter"], params["rank"], params["alpha"]), params)


def _cross_entropy(job, model, params):
    model.train()
    tokens = torch.tensor(params["rows"])
    scored = params["scored"]
    optimizer = adamw(model, params["learningRate"])
    weights = [p for p in model.parameters() if p.requires_grad]

    def step():
        logits = scored_logits(model, tokens, scored)
        loss = F.cross_entropy(logits.flatten(0, 1), tokens[:, -scored:].flatten())
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(weights, params["clipNorm"])
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.item(), norm.item()

    losses, norms = zip(*(step() for _ in range(params["checkedSteps"])))
    job.checked({"loss": losses, "gradNorm": norms})
    while job.again():
        step()
        job.done()


def sampling(job, folder, params):
    model = load(folder)
    model.eval()
    model.generation_config.eos_token_id = None  # every row has all its new tokens
    prompts = torch.tensor(params["prompts"])
    mask = torch.ones_like(prompts)
    new = params["newTokens"]

    def generate(**how):
        with torch.no_grad():
            return model.generate(prompts, attention_mask=mask, max_new_tokens=new, top_k=0, top_p=1.0, **how)

    tokens = generate(do_sample=False)
    with torch.no_grad():
        log_probs = torch.log_softmax(scored_logits(model, tokens, new), -1)
    best = log_probs.topk(2).values
    tokens = tokens[:, -new:]
    job.checked(
        {
            "tokens": tokens.tolist(),
            "logProbs": log_probs.gather(-1, tokens.unsqueeze(-1)).squeeze(-1).tolist(),
            "margins": (best[..., 0] - best[..., 1]).tolist(),
        }
    )
    while job.again():
        generate(do_sample=True, temperature=1.0)
        job.done()


def ofsd(job, folder, params):
    """Teacher: adapter off, the privileged prompt. Student: adapter on, the standard prompt. Forward KL over the vocabulary, each entry clamped."""
    base = load(folder)
    base.train()
    pairs = params["pairs"]
    own = torch.tensor([t for t, mine in enumerate(params["own"]) if mine])
    student = torch.tensor([pair["prompt"] + pair["tokens"] for pair in pairs])
    teacher = torch.tensor([pair["prompt"] + pair["reference"] + pair["tokens"] for pair in pairs])
    length = len(params["own"])
    clamp = params["clamp"]

    def log_probs(model, tokens):
        # The trailing `length` positions predict the completion; of them only the own ones reach the head.
        at = tokens.shape[1] - length - 1 + own
        return torch.log_softmax(model(input_ids=tokens[:, :-1], logits_to_keep=at, use_cache=False).logits, -1)

    def distil():
        nonlocal base
        model = adapted(base, params["adapter"], params["rank"], params["alpha"])
        optimizer = adamw(model, params["learningRate"])
        weights = [p for p in model.parameters() if p.requires_grad]
        history = []
        for rate in params["rates"]:
            with torch.no_grad(), model.disable_adapter():
                target = log_probs(model, teacher)
            terms = target.exp() * (target - log_probs(model, student))
            loss = terms.clamp(max=clamp).sum(-1).mean()
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(weights, params["clipNorm"])
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            history.append((loss.item(), terms.detach().sum(-1).mean().item(), norm.item()))
        base = model.merge_and_unload()
        return history

    losses, divergences, norms = zip(*distil())
    job.checked({"loss": losses, "kl": divergences, "gradNorm": norms})
    while job.again():
        distil()
        job.done(len(params["rates"]))
