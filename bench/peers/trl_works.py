"""GRPO by TRL's GRPOTrainer: one step is sampling, reference pass, loss and optimiser, timed from the trainer's own step callbacks.

Lengths are forced: no row may end by itself, and a row that searches calls the tool at a fixed place and ends at a fixed place. The tokenizer
is a word list (`w0`, `w1`, ...), in which a tool call and the end of a turn are one token each.
"""

import functools
import json
import os
import tempfile

import torch
from datasets import Dataset
from job import Dropped
from models import load, scored_logits
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LogitsProcessor, LogitsProcessorList, PreTrainedTokenizerFast, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

CALL = "<call>" + json.dumps({"name": "search", "arguments": {"query": "w1 w2"}}) + "</call>"
TEMPLATE = (
    "{% for m in messages %}"
    "{% if m.role == 'user' %}<user>{{ m.content }}"
    "{% elif m.role == 'tool' %}<tool>{{ m.content }}"
    "{% else %}<assistant>{{ m.content }}{% for c in m.tool_calls or [] %}<call>{{ c.function | tojson }}</call>{% endfor %}<end>{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}"
)
RESPONSE = {
    "defaults": {"role": "assistant"},
    "start_anchor": "<assistant>",
    "fields": {
        "tool_calls": {
            "open": "<call>",
            "close_pattern": r"</call>\s*",
            "repeats": True,
            "content": "json",
            "transform": {"type": "function", "function": "{content}"},
        },
        "content": {"close_pattern": r"<end>\s*", "content": "text"},
    },
}
SPECIAL = ["<unk>", "<pad>", "<user>", "<tool>", "<assistant>", CALL, "<end>"]


def word_tokenizer(size):
    """Words w0 ... and, at the end of the table, the special tokens."""
    words = [f"w{i}" for i in range(size - len(SPECIAL))] + SPECIAL
    inner = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="<unk>", pad_token="<pad>", eos_token="<end>")
    tokenizer.add_special_tokens({"additional_special_tokens": SPECIAL[2:6]})
    tokenizer.chat_template = TEMPLATE
    tokenizer.response_template = RESPONSE
    return tokenizer


class Schedule(LogitsProcessor):
    """Keeps special tokens out of a turn, except those that are due: `ending` are a turn's last tokens, `length` its length."""

    def __init__(self, special, prompt_length, length, ending):
        self.special, self.prompt_length, self.length, self.ending = special, prompt_length, length, ending

    def __call__(self, input_ids, scores):
        due = input_ids.shape[1] - self.prompt_length - (self.length - len(self.ending))
        if due < 0:
            scores[:, self.special] = -torch.inf
        else:
            scores[:] = -torch.inf
            scores[:, self.ending[due]] = 0.0
        return scores


def schedule_turns(model, turns, special):
    """Makes `model.generate` follow `turns`, a cycle of (length, ending), one a call."""
    plain = model.generate
    calls = 0

    @functools.wraps(plain)
    def generate(*args, **kwargs):
        nonlocal calls
        length, ending = turns[calls % len(turns)]
        calls += 1
        processor = Schedule(special, kwargs["input_ids"].shape[1], length, ending)
        return plain(*args, logits_processor=LogitsProcessorList([processor]), **kwargs)

    model.generate = generate


class Steps(TrainerCallback):
    """Hands the trainer's steps to the job: the first is the check, each further one waits until it is asked for."""

    def __init__(self, job, check):
        self.job, self.check, self.started = job, check, False

    def on_step_begin(self, args, state, control, **kwargs):
        if self.started and not self.job.again():
            raise Dropped

    def on_step_end(self, args, state, control, **kwargs):
        if self.started:
            self.job.done()

    def on_log(self, args, state, control, logs=None, **kwargs):
        if not self.started and "grad_norm" in (logs or {}):
            self.started = True
            self.job.checked(self.check(logs))


def grpo(job, folder, params):
    words = " ".join
    prompts = [words(f"w{t}" for t in prompt) for prompt in params["prompts"]]
    end = params["vocabulary"] - 1
    _train(job, folder, params, prompts, [(params["newTokens"], [])], None, [True] * params["newTokens"], end)


def search(job, folder, params):
    """Two turns with a tool call between them, as one writes them for TRL: `tools=[search]`."""
    passage = " ".join(f"w{t}" for t in params["passage"])

    def search(query: str) -> str:
        """
        Finds a passage.

        Args:
            query: What to look for.
        """
        return passage

    end = params["vocabulary"] - 1
    turns = [(params["turnTokens"], [end - 1, end]), (params["turnTokens"], [end])]
    prompts = [[{"role": "user", "content": " ".join(f"w{t}" for t in prompt)}] for prompt in params["prompts"]]
    shown = len(params["passage"]) + 2  # <tool> and <assistant>
    own = [True] * params["turnTokens"] + [False] * shown + [True] * params["turnTokens"]
    _train(job, folder, params, prompts, turns, [search], own, end)


def _train(job, folder, params, prompts, turns, tools, own, end):
    tokenizer = word_tokenizer(params["vocabulary"])
    special = list(range(params["vocabulary"] - len(SPECIAL), params["vocabulary"]))
    group = params["groupSize"]
    seen = {}

    def reward(prompts, completions, completion_ids, **_):
        seen["completions"] = [list(ids) for ids in completion_ids]
        seen["prompts"] = [tokenizer.apply_chat_template(p, tools=None, add_generation_prompt=True, return_dict=False) if tools else tokenizer(p)["input_ids"] for p in prompts]
        return [1.0 if i % group < params["rewarded"] else 0.0 for i in range(len(completions))]

    def check(logs):
        lengths = {len(ids) for ids in seen["completions"]}
        if lengths != {len(own)}:
            raise ValueError(f"completions have {sorted(lengths)} tokens, {len(own)} were asked for")
        tokens = torch.tensor([p + c for p, c in zip(seen["prompts"], seen["completions"])])
        before = load(folder)
        with torch.no_grad():
            log_probs = torch.log_softmax(scored_logits(before, tokens, len(own)), -1)
        chosen = log_probs.gather(-1, tokens[:, -len(own) :].unsqueeze(-1)).squeeze(-1)[:, torch.tensor(own)]
        return {
            "prompts": seen["prompts"],
            "completions": seen["completions"],
            "own": own,
            "logProbs": chosen.tolist(),
            "reward": logs["reward"],
            "loss": float(logs["loss"]),
            "gradNorm": float(logs["grad_norm"]),
        }

    steps = Steps(job, check)
    # TRL repeats each prompt `num_generations` times; the questions come in the order of the data.
    rows = Dataset.from_dict({"prompt": prompts})
    with tempfile.TemporaryDirectory() as output:
        trainer = GRPOTrainer(
            model=load(folder),
            reward_funcs=reward,
            args=GRPOConfig(
                output_dir=output,
                use_cpu=True,
                bf16=False,
                gradient_checkpointing=False,
                per_device_train_batch_size=len(prompts) * group,
                num_generations=group,
                gradient_accumulation_steps=1,
                max_completion_length=len(own),
                temperature=1.0,
                top_k=0,
                beta=params["beta"],
                epsilon=params["clip"],
                loss_type="dapo",
                learning_rate=params["learningRate"],
                lr_scheduler_type="constant",
                weight_decay=0.0,
                max_grad_norm=params["clipNorm"],
                shuffle_dataset=False,
                max_steps=1_000_000,
                logging_steps=1,
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
                dataloader_pin_memory=False,
            ),
            train_dataset=rows,
            processing_class=tokenizer,
            tools=tools,
            callbacks=[steps],
        )
        schedule_turns(trainer.model, turns, special)
        try:
            trainer.train()
        except Dropped:
            pass


os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
