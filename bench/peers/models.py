"""Model, adapter and optimiser as every work here uses them."""

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from transformers import Qwen2ForCausalLM

LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def load(folder):
    return Qwen2ForCausalLM.from_pretrained(folder, dtype=torch.float32)


def adapted(model, path, rank, alpha):
    """PEFT's LoRA on all linear layers, with the values of `path`."""
    model = get_peft_model(model, LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=0.0, target_modules=LINEAR, task_type="CAUSAL_LM"))
    values = load_file(path)
    named = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    with torch.no_grad():
        for name, weight in named.items():
            weight.copy_(values[name.removeprefix("base_model.model.").replace(".default", "")])
    if len(named) != len(values):
        raise ValueError(f"{path} holds {len(values)} weights, the adapter has {len(named)}")
    return model


def adamw(model, rate):
    """torch.optim.AdamW in its fastest eager form on a CPU."""
    return torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=rate, weight_decay=0.0, fused=True)


def scored_logits(model, tokens, scored):
    """Logits of the last `scored` tokens of every row [B, scored, V]; nothing is computed for the others."""
    return model(input_ids=tokens[:, :-1], logits_to_keep=scored, use_cache=False).logits
