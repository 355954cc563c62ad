"""Greedy continuations by vLLM on the CPU, of a checkpoint that was saved elsewhere.

    python open_in_vllm.py <folder of the checkpoint> <prompts.json> <new tokens> <output.json> [folder of an adapter]
"""
import json
import os
import sys

os.environ |= {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_LOGGING_LEVEL": "ERROR", "HF_HUB_OFFLINE": "1"}

if __name__ == "__main__":
    from vllm import LLM, SamplingParams
    from vllm.lora.request import LoRARequest

    folder, prompts, new, out, *adapter = sys.argv[1:]
    llm = LLM(model=folder, skip_tokenizer_init=True, dtype="float32", enforce_eager=True, max_model_len=128, enable_lora=bool(adapter))
    given = [{"prompt_token_ids": ids} for ids in json.load(open(prompts))]
    sampling = SamplingParams(temperature=0, max_tokens=int(new), ignore_eos=True, detokenize=False)
    written = llm.generate(given, sampling, use_tqdm=False, lora_request=LoRARequest("adapter", 1, adapter[0]) if adapter else None)
    json.dump([list(each.outputs[0].token_ids) for each in written], open(out, "w"))
