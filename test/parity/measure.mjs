/**
 * `npm run measure:model -- <folder> [--storage stored|float32] [--prompt 256] [--new 32] [--no-train] [--no-python]`: what a checkpoint costs here, and in Transformers.
 *
 * Each side in a process of its own, one after the other, on the same prompt of random tokens: seconds to load, peak memory, tokens a second when reading a
 * prompt and when writing, and one LoRA GRPO step (rank 8; 2 x 4 sequences of 64 tokens, half of them scored). Prints one JSON object a side.
 */
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { loadavg } from 'node:os';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { random } from 'search-e1';
import { inProcessEngine } from 'search-e1/engines';
import { grpoLoss } from 'search-e1/grpo';
import { loadPolicy, loadTokenizer } from 'search-e1/policy';
import { measureMatMul, startBackend } from 'search-e1/tensors';

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    storage: { type: 'string', default: 'stored' },
    prompt: { type: 'string', default: '256' },
    new: { type: 'string', default: '32' },
    'no-train': { type: 'boolean', default: false },
    'no-python': { type: 'boolean', default: false },
  },
});
const [folder] = positionals;
if (!folder) throw new Error('measure:model <folder>: which checkpoint?');
const [promptLength, written] = [Number(options.prompt), Number(options.new)];
const seconds = async (work) => {
  const started = performance.now();
  await work();
  return (performance.now() - started) / 1000;
};
const megabytes = (bytes) => Math.round(bytes / 1e6);

const backend = await startBackend();
const peak = await measureMatMul(1024);
const before = process.memoryUsage.rss();
let policy;
const load = await seconds(async () => {
  policy = await loadPolicy(folder, { storage: options.storage });
});
const afterLoad = process.memoryUsage.rss();
const loading = process.resourceUsage().maxRSS * 1024;
const engine = inProcessEngine(policy, await loadTokenizer(folder));
const source = random(1, 'prompt');
const ids = (length) => Array.from({ length }, () => source.integer(150_000));
const prompt = ids(promptLength);
const sample = (maxTokens) => engine.sample([prompt], { temperature: 0, seed: 1, maxTokens, onToken: () => 'continue' });
await sample(1);
const prefill = await seconds(() => sample(1));
const whole = await seconds(() => sample(written + 1));
const inference = process.resourceUsage().maxRSS * 1024;
engine.addAdapter({ rank: 8, alpha: 16, seed: 1 });
const data = Array.from({ length: 8 }, (_, i) => {
  const scored = Array.from({ length: 32 }, (_, t) => 32 + t);
  return {
    tokens: ids(64),
    scored,
    advantage: i % 2 ? 1 : -1,
    oldLogProbs: scored.map(() => -12),
    referenceLogProbs: scored.map(() => -12),
  };
});
const train = async () => {
  await engine.forwardBackward(grpoLoss(data, { clip: 0.2, beta: 0.001 }));
  await engine.optimStep({ learningRate: 1e-5, clipNorm: 1 });
};
const step = options['no-train'] ? null : await seconds(train);
const flopsPerToken = 2 * (policy.parameters - policy.config.vocabSize * policy.config.hiddenSize);
console.log(
  JSON.stringify({
    side: 'search-e1',
    backend: backend.description,
    storage: options.storage,
    loadSeconds: round(load),
    residentBeforeMB: megabytes(before),
    residentAfterLoadMB: megabytes(afterLoad),
    peakLoadMB: megabytes(loading),
    peakInferenceMB: megabytes(inference),
    prefillTokensPerSecond: round(promptLength / prefill),
    decodeTokensPerSecond: round(written / (whole - prefill)),
    prefillShareOfMatMul: round((promptLength * flopsPerToken) / prefill / 1e9 / peak),
    matMulGflops: round(peak),
    loraGrpoStepSeconds: step && round(step),
    peakMB: megabytes(process.resourceUsage().maxRSS * 1024),
    otherLoad: round(loadavg()[0]),
  }),
);
engine.dispose();

const python = fileURLToPath(new URL('.venv/bin/python', import.meta.url));
if (!options['no-python'] && existsSync(python)) {
  const { status } = spawnSync(
    python,
    [fileURLToPath(new URL('measure.py', import.meta.url)), folder, String(promptLength), String(written)],
    {
      stdio: 'inherit',
      env: { ...process.env, HF_HUB_OFFLINE: '1', TRANSFORMERS_VERBOSITY: 'error' },
    },
  );
  process.exitCode = status ?? 1;
}
process.exit();

function round(value) {
  return Number(value.toPrecision(3));
}
