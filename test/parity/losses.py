"""TRL's own GRPO losses, Transformers' own sampling distributions and chat templates, on inputs drawn afresh.

    python losses.py <output file> <seed>
"""
import json
import logging
import random
import sys
import tempfile

import torch
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM
from transformers.generation.logits_process import MinPLogitsWarper, RepetitionPenaltyLogitsProcessor, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper
from trl import GRPOConfig, GRPOTrainer

torch.set_num_threads(1)
logging.disable(logging.WARNING)
rng = random.Random(int(sys.argv[2]))
gen = torch.Generator().manual_seed(int(sys.argv[2]))
words = Tokenizer(models.WordLevel({"<pad>": 0, "a": 1, "<eos>": 2}, unk_token="a"))
words.pre_tokenizer = pre_tokenizers.Whitespace()
tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<eos>", pad_token="<pad>", unk_token="a", padding_side="left")


class Probe(GRPOTrainer):
    """TRL's loss over log-probabilities that are given."""

    def _get_per_token_logps_and_entropies(self, model, *args, **kwargs):
        return self.free, torch.zeros_like(self.free), None


def grpo():
    B, T, cases = 8, 12, []
    folder = tempfile.mkdtemp()  # the trainer wants a model that has a name
    Qwen2ForCausalLM(Qwen2Config(vocab_size=8, hidden_size=4, intermediate_size=4, num_hidden_layers=1, num_attention_heads=1, num_key_value_heads=1)).save_pretrained(folder)
    for loss_type in ("grpo", "bnpo", "dr_grpo", "dapo"):
        for on_policy in (False, True):
            beta, epsilon, epsilon_high = rng.choice([0.0, 0.001, 0.04]), rng.choice([0.1, 0.2, 0.3]), rng.choice([0.1, 0.2, 0.28])
            bias_corrected, scale_rewards = rng.random() < 0.5, rng.choice(["group", "batch", "none"])
            logps = (-2 + 0.7 * torch.randn(B, T, generator=gen)).clamp(max=-0.05)
            old, ref = logps + 0.3 * torch.randn(B, T, generator=gen), logps + 0.4 * torch.randn(B, T, generator=gen)
            lengths = torch.tensor([rng.randrange(2, T + 1) for _ in range(B)])
            mask = (torch.arange(T)[None] < lengths[:, None]).long()
            tools = torch.ones(B, T, dtype=torch.long)
            tools[:, 1] = torch.tensor([rng.randrange(2) for _ in range(B)])
            rewards = torch.tensor([float(rng.randrange(3)) for _ in range(4)] + [1.0] * 4)  # the second group scored the same
            trainer = Probe(model=Qwen2ForCausalLM.from_pretrained(folder), reward_funcs=lambda completions, **k: [0.0] * len(completions), processing_class=tokenizer,
                            train_dataset=Dataset.from_dict({"prompt": ["a"] * B}),
                            args=GRPOConfig(output_dir=tempfile.mkdtemp(), per_device_train_batch_size=B, num_generations=4, beta=beta, epsilon=epsilon, epsilon_high=epsilon_high, loss_type=loss_type, scale_rewards=scale_rewards,
                                            use_bias_correction_kl=bias_corrected, max_completion_length=T, use_cpu=True, bf16=False, report_to="none",
                                            gradient_checkpointing=False, gradient_accumulation_steps=1, num_iterations=1))
            trainer.free = torch.zeros(B, 1)
            one = [[1]] * B
            trainer._generate = lambda prompts: (one, one, None, ["a"] * B, None, {}, None, [])
            trainer._calculate_rewards = lambda *a, **k: rewards.unsqueeze(1)
            advantages = trainer._generate_and_score_completions([{"prompt": "a"} for _ in range(B)])["advantages"]
            trainer.model.train()
            trainer.current_gradient_accumulation_steps = 1
            trainer.free = logps.clone().requires_grad_()
            inputs = {"prompt_ids": torch.ones(B, 1, dtype=torch.long), "prompt_mask": torch.ones(B, 1, dtype=torch.long), "completion_ids": torch.ones(B, T, dtype=torch.long),
                      "completion_mask": mask, "tool_mask": tools, "advantages": advantages, "ref_per_token_logps": ref, "num_items_in_batch": (mask * tools).sum().float()}
            if not on_policy:
                inputs["old_per_token_logps"] = old
            loss = trainer._compute_loss(trainer.model, inputs)
            loss.backward()
            cases.append({"loss_type": loss_type, "beta": beta, "epsilon": epsilon, "epsilon_high": epsilon_high, "bias_corrected": bias_corrected, "scale_rewards": scale_rewards,
                          "rewards": rewards.tolist(), "logps": logps.tolist(), "old": None if on_policy else old.tolist(), "ref": ref.tolist(),
                          "mask": (mask * tools).tolist(), "advantages": advantages.tolist(), "loss": float(loss.detach()), "grad": trainer.free.grad.tolist()})
    return cases


def sampling():
    cases = []
    for _ in range(40):
        logits = 2 * torch.randn(1, rng.randrange(5, 300), generator=gen)
        temperature, top_k, top_p, min_p = rng.choice([0.5, 0.7, 1.0, 1.3]), rng.choice([0, 1, 5, 20]), rng.choice([1.0, 0.95, 0.8, 0.3]), rng.choice([0.0, 0.0, 0.05])
        # What the prompt and the continuation hold, some of it twice.
        held, penalty = [rng.randrange(logits.shape[1]) for _ in range(rng.randrange(1, 12))] * 2, rng.choice([1.0, 1.05, 1.1, 1.5, 0.8])
        scores = TemperatureLogitsWarper(temperature)(None, RepetitionPenaltyLogitsProcessor(penalty)(torch.tensor([held]), logits.clone()))
        if top_k:
            scores = TopKLogitsWarper(top_k)(None, scores)
        if top_p < 1:
            scores = TopPLogitsWarper(top_p)(None, scores)
        if min_p:
            scores = MinPLogitsWarper(min_p)(None, scores)
        cases.append({"logits": logits[0].tolist(), "held": held, "penalty": penalty, "temperature": temperature, "topK": top_k, "topP": top_p, "minP": min_p, "probabilities": torch.softmax(scores, -1)[0].tolist()})
    return cases


QWEN = """{%- if tools %}
    {{- '<|im_start|>system\\n' }}
    {%- if messages[0]['role'] == 'system' %}
        {{- messages[0]['content'] }}
    {%- else %}
        {{- 'You are Qwen, created by Alibaba Cloud. You are a helpful assistant.' }}
    {%- endif %}
    {{- "\\n\\n# Tools\\n\\n<tools>" }}
    {%- for tool in tools %}
        {{- "\\n" }}
        {{- tool | tojson }}
    {%- endfor %}
    {{- "\\n</tools><|im_end|>\\n" }}
{%- else %}
    {%- if messages[0]['role'] == 'system' %}
        {{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' }}
    {%- else %}
        {{- '<|im_start|>system\\nYou are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\\n' }}
    {%- endif %}
{%- endif %}
{%- for message in messages %}
    {%- if (message.role == "user") or (message.role == "system" and not loop.first) or (message.role == "assistant" and not message.tool_calls) %}
        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
    {%- elif message.role == "tool" %}
        {%- if (loop.index0 == 0) or (messages[loop.index0 - 1].role != "tool") %}
            {{- '<|im_start|>user' }}
        {%- endif %}
        {{- '\\n<tool_response>\\n' }}
        {{- message.content }}
        {{- '\\n</tool_response>' }}
        {%- if loop.last or (messages[loop.index0 + 1].role != "tool") %}
            {{- '<|im_end|>\\n' }}
        {%- endif %}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""
PLAIN = "{{ bos_token or '' }}{% for m in messages %}\n  {% if m['role'] not in ['user', 'assistant'] %}{{ raise_exception('no ' + m['role']) }}{% endif %}\n[{{ loop.index }}] {{ m.content | trim | upper }}{{ eos_token }}{% endfor %}\n"


def chats():
    cases = []
    texts = ["Who?", "  <search> x </search>\n", "\u4f60\u597d {{ messages }} {% if %}", "", "a'b\"c<&>"]
    for template in (QWEN, PLAIN):
        for n in range(1, 5):
            for generation in (True, False):
                roles = ["system"] * (template is QWEN and rng.random() < 0.5) + ["user", "assistant", "user", "tool" if template is QWEN else "assistant", "user"][:n]
                messages = [{"role": role, "content": rng.choice(texts)} for role in roles]
                tools = [{"name": "search", "about": "caf\u00e9 <b>", "n": 1}] if template is QWEN and n == 3 else None
                text = tokenizer.apply_chat_template(messages, chat_template=template, tools=tools, tokenize=False, add_generation_prompt=generation)
                cases.append({"template": template, "messages": messages, "tools": tools, "generation": generation, "text": text})
    return cases


json.dump({"grpo": grpo(), "sampling": sampling(), "chats": chats()}, open(sys.argv[1], "w"))
