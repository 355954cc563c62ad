/**
 * `npm run bench:gpu`: what this machine's GPU does from TypeScript, beside PyTorch on the same card where python3 has it; see HELP.
 *
 * The record is written after every part, so that a run that is cut short leaves what it measured.
 */
import { spawn, spawnSync } from 'node:child_process';
import { mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { arch, cpus, platform } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';
import * as tf from '@tensorflow/tfjs-core';
import { datasetPath, loadPolicy, startBackend } from '../../src/index.js';
import { countParameters } from '../../src/policy/config.js';
import type { Policy } from '../../src/policy/index.js';
import type { BackendName, Compute } from '../../src/tensors/index.js';
import { measureBandwidth, measureMatMul } from '../../src/tensors/measure.js';
import { webGpuDevice } from '../../src/tensors/webgpu/device.js';
import { version } from '../../src/version.js';
import { type CheckResult, runChecks } from './checks.js';
import { type KernelSpeed, kernelSpeeds } from './kernels.js';
import { type MemoryTrace, traceMemory } from './leak.js';
import { type Precision, precisionOf } from './precision.js';
import { randomPolicy, TINY, WORKS, type Work } from './shapes.js';
import { grpoStep, type StepTimes, trainingFlops, warmUp } from './speed.js';

const HELP = `Usage: npm run bench:gpu -- [options]

Holds every WGSL kernel to its formula, then measures matrix products, bandwidth, what float16 changes, and full GRPO steps (classroom
policy, random Qwen2.5-0.5B and 3B shapes) on WebGPU, and the same in PyTorch where python3 imports torch. Writes a record as JSON.

  --backend <name>    webgpu (the default), or another one that is to be compared
  --out <file>        where the record goes (default bench/records/gpu/<date>.json)
  --works <names>     what the names begin with, of classroom, qwen2.5-0.5b, qwen2.5-3b, with commas (default: all)
  --seconds <n>       no new work is begun after so many seconds (default 1e9)
  --python <command>  the Python with torch and transformers (default python3); "none" leaves it out
  --parts <names>     of checks, speeds, kernels, precision, works, with commas (default: all); PyTorch goes with speeds and works
  --compute <names>   float32, float16, with commas: what products are measured in (default float32)
  --leak <steps>      only this: memory over so many steps of the tiny work, for the record
  --dispatches <n>    WebGPU dispatches between submissions (default: the backend's)
  --layers <n>        only so many of each model's layers: on a software GPU the whole takes hours
  --tiny              a work of seconds that shows that everything runs, on a software GPU too
  --help              this text
`;

/** TFLOP/s of float32 without tensor cores and GB/s of memory, by the makers' data sheets. */
const PEAKS: readonly { readonly name: RegExp; readonly teraflops: number; readonly gigabytes: number }[] = [
  { name: /H200/, teraflops: 67, gigabytes: 4800 },
  { name: /H100.*PCIe/, teraflops: 51, gigabytes: 2000 },
  { name: /H100/, teraflops: 67, gigabytes: 3350 },
  { name: /A100.*80/, teraflops: 19.5, gigabytes: 2039 },
  { name: /A100/, teraflops: 19.5, gigabytes: 1555 },
  { name: /L40S/, teraflops: 91.6, gigabytes: 864 },
  { name: /\bL4\b/, teraflops: 30.3, gigabytes: 300 },
  { name: /\bT4\b/, teraflops: 8.1, gigabytes: 320 },
  { name: /RTX 4090/, teraflops: 82.6, gigabytes: 1008 },
  { name: /RTX 3090/, teraflops: 35.6, gigabytes: 936 },
];

interface GpuRecord {
  readonly date: string;
  /** What was asked for; the rest of the record is empty. */
  readonly parts: readonly string[];
  readonly machine: Readonly<Record<string, unknown>>;
  readonly versions: Record<string, unknown>;
  readonly backend: Record<string, unknown>;
  readonly peak: { readonly teraflops: number; readonly gigabytes: number } | null;
  checks: readonly CheckResult[];
  readonly kernels: KernelSpeed[];
  readonly matMul: { readonly n: number; readonly compute: Compute; readonly teraflops: number }[];
  bandwidth: number | null;
  readonly precision: Precision[];
  memory: MemoryTrace | null;
  readonly grpo: Record<string, StepTimes | { readonly error: string }>;
  readonly torch: Record<string, unknown>[];
  readonly ratios: Record<string, number>;
  complete: boolean;
}

const { values: options } = parseArgs({
  options: {
    backend: { type: 'string', default: 'webgpu' },
    out: { type: 'string' },
    works: { type: 'string' },
    seconds: { type: 'string', default: '1e9' },
    python: { type: 'string', default: 'python3' },
    parts: { type: 'string', default: 'checks,speeds,kernels,precision,works' },
    compute: { type: 'string', default: 'float32' },
    leak: { type: 'string' },
    dispatches: { type: 'string' },
    layers: { type: 'string' },
    tiny: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});

const say = (text: string): void => void process.stderr.write(`${text}\n`);

async function run(): Promise<void> {
  const started = performance.now();
  const elapsed = () => (performance.now() - started) / 1000;
  const inTime = () => elapsed() < 0.5 * Number(options.seconds); // the rest is PyTorch's
  const backend = await startBackend({ backend: options.backend as BackendName });
  const card = spawnSync('nvidia-smi', ['--query-gpu=name,driver_version,memory.total', '--format=csv,noheader'], { encoding: 'utf8' });
  const cardText = card.status === 0 ? card.stdout.trim() : null;
  const date = new Date().toISOString();
  const out = options.out ?? join('bench', 'records', 'gpu', `${date.slice(0, 10)}.json`);
  const named = options.works?.split(',');
  const works: readonly Work[] = options.tiny
    ? [TINY]
    : WORKS.filter(({ name }) => !named || named.some((start) => name.startsWith(start))).map(cutTo(options.layers));
  const onCard = backend.device === 'gpu';
  const sizes: readonly (readonly [number, number])[] = !onCard ? [[128, 2]] : [[1024, 50], [2048, 20], [4096, 10], [8192, 4]]; // biome-ignore format: a table
  const megabytes = onCard ? 512 : 4;
  const parts = (name: string) => options.parts.split(',').includes(name);
  const computes = options.compute.split(',') as Compute[];
  const record: GpuRecord = {
    date,
    parts: options.leak ? ['memory'] : options.parts.split(','),
    machine: { gpu: cardText, cpu: cpus()[0]?.model.trim(), cores: cpus().length, platform: `${platform()} ${arch()}` },
    versions: { 'search-e1': version, node: process.versions.node },
    backend: { ...backend, ...deviceFacts() },
    peak: PEAKS.find(({ name }) => name.test(`${cardText} ${backend.description}`)) ?? null,
    checks: [],
    kernels: [],
    matMul: [],
    bandwidth: null,
    precision: [],
    memory: null,
    grpo: {},
    torch: [],
    ratios: {},
    complete: false,
  };
  const save = () => {
    Object.assign(record.ratios, ratios(record));
    mkdirSync(dirname(out), { recursive: true });
    writeFileSync(`${out}.part`, `${JSON.stringify(record, (_, value) => (value instanceof RegExp ? undefined : value), 2)}\n`);
    renameSync(`${out}.part`, out);
  };
  say(`${backend.name}: ${backend.description}; ${cardText ?? 'no NVIDIA driver'}`);
  save();

  if (options.dispatches) tf.env().set('WEBGPU_DEFERRED_SUBMIT_BATCH_SIZE', Number(options.dispatches));
  if (options.leak) {
    record.memory = await traceMemory(TINY, Number(options.leak), say, Number(options.seconds));
    record.complete = true;
    save();
    say(`record: ${out}`);
    return;
  }
  if (backend.name === 'webgpu' && parts('checks')) {
    record.checks = await runChecks(say);
    save();
  }
  if (parts('speeds') && onCard) await warmUp(2048);
  for (const compute of parts('speeds') ? computes : []) {
    await startBackend({ backend: backend.name, compute });
    for (const [n] of sizes) {
      const teraflops = (await measureMatMul(n)) / 1000;
      record.matMul.push({ n, compute, teraflops });
      say(`matMul ${n}, ${compute}: ${teraflops.toFixed(2)} TFLOP/s`);
    }
  }
  if (parts('speeds')) {
    record.bandwidth = await measureBandwidth(megabytes);
    say(`bandwidth: ${record.bandwidth.toFixed(0)} GB/s`);
    save();
  }
  for (const compute of backend.name === 'webgpu' && parts('kernels') ? computes : []) {
    await startBackend({ backend: 'webgpu', compute });
    record.kernels.push(...(await kernelSpeeds(onCard ? 1 : 64, compute, say)));
    save();
  }
  if (backend.name === 'webgpu' && parts('precision')) {
    const one = async (work: Work, policy: Policy) => {
      const { sequences, prompt, drawn } = work;
      const [most, longest] = onCard || policy.parameters < 1e7 ? [4, 64] : [1, 24];
      const found = await precisionOf(work.name, policy, {
        sequences: Math.min(most, sequences),
        prompt: Math.min(longest, prompt),
        drawn: Math.min(longest, drawn),
      });
      policy.dispose();
      record.precision.push(found);
      say(`float16 beside float32: ${JSON.stringify(found)}`);
      save();
    };
    const base = datasetPath('tinypedia', 'base-policy');
    if (works.some(({ name }) => name === WORKS[0].name))
      await one({ ...WORKS[0], name: 'classroom, the base policy' }, await loadPolicy(base));
    for (const work of works.filter(({ name }) => !name.startsWith('qwen2.5-3b'))) await one(work, randomPolicy(work.config));
  }
  for (const work of parts('works') ? works : []) {
    say(`${work.name}: ${(countParameters(work.config) / 1e6).toFixed(1)} million parameters`);
    for (const compute of computes) {
      const name = compute === 'float32' ? work.name : `${work.name}, ${compute}`;
      try {
        if (!inTime()) throw new Error('no time left');
        await startBackend({ backend: backend.name, compute });
        record.grpo[name] = await grpoStep({ ...work, name }, say);
      } catch (error) {
        record.grpo[name] = { error: error instanceof Error ? error.message : String(error) };
        say(`${name}: ${(record.grpo[name] as { error: string }).error}`);
      }
      save();
    }
  }
  if (options.python !== 'none' && parts('speeds') && parts('works')) {
    const given = {
      matMul: sizes,
      megabytes,
      grpo: works.filter(({ halves }) => !halves).map((work) => ({ ...work, flops: trainingFlops(work) })),
    };
    await besidePyTorch(given, 0.9 * Number(options.seconds) - elapsed(), (line) => {
      record.torch.push(line);
      save();
    });
  }
  record.complete = Object.values(record.grpo).every((times) => 'step' in times);
  save();
  for (const [name, ratio] of Object.entries(record.ratios)) say(`${name}: ${ratio.toPrecision(3)}`);
  say(`record: ${out}`);
  const failed = record.checks.filter(({ difference, tolerance }) => !(difference !== null && difference <= tolerance));
  if (failed.length)
    say(`${failed.length} of ${record.checks.length} kernels differ from their formula: ${failed.map(({ name }) => name).join('; ')}`);
  process.exitCode = failed.length ? 1 : 0;
}

/** The work with the first layers of its model alone, where so many are named. */
const cutTo =
  (layers?: string) =>
  (work: Work): Work =>
    layers
      ? { ...work, name: `${work.name}, ${layers} of ${work.config.layers} layers`, config: { ...work.config, layers: Number(layers) } }
      : work;

function deviceFacts() {
  const device = webGpuDevice();
  return device && { features: device.features, maxBufferSize: device.maxBufferSize };
}

/** Ours over PyTorch's in float32 (larger is better for us), and shares of the data sheet. */
function ratios({ matMul, bandwidth, grpo, torch, peak }: GpuRecord): Record<string, number> {
  const found: Record<string, number> = {};
  const theirs = (kind: string, match: object) =>
    torch.find((line) => line.kind === kind && Object.entries(match).every(([key, value]) => line[key] === value)) as
      | Record<string, number>
      | undefined;
  for (const { n, compute, teraflops } of matMul) {
    for (const mode of compute === 'float32' ? ['float32'] : ['float32', 'bfloat16']) {
      const peer = theirs('matMul', { n, mode });
      if (peer) found[`matMul ${n}, ${compute} / PyTorch ${mode}`] = teraflops / peer.teraflops;
    }
    if (peak && compute === 'float32') found[`matMul ${n}, share of peak`] = teraflops / peak.teraflops;
  }
  const peerBandwidth = theirs('bandwidth', {});
  if (bandwidth && peerBandwidth) found['bandwidth / PyTorch'] = bandwidth / peerBandwidth.gigabytes;
  if (bandwidth && peak) found['bandwidth, share of peak'] = bandwidth / peak.gigabytes;
  for (const [name, times] of Object.entries(grpo)) {
    if (!('step' in times)) continue;
    for (const mode of ['float32', 'bfloat16']) {
      const peer = theirs('grpo', { name: name.split(',')[0], mode });
      if (peer)
        for (const part of ['sampling', 'training', 'step'] as const) found[`${name} ${part} / PyTorch ${mode}`] = peer[part] / times[part];
    }
    if (peak && !name.includes(',')) found[`${name} training, share of peak`] = times.trainingTeraflops / peak.teraflops;
  }
  return found;
}

/** Runs the Python side; its lines are results, its failure is one too. */
async function besidePyTorch(works: object, seconds: number, take: (line: Record<string, unknown>) => void): Promise<void> {
  const script = process.env.SEARCH_E1_TORCH_SIDE ?? join('bench', 'gpu', 'torch_side.py');
  const child = spawn(options.python as string, [script, JSON.stringify(works), String(seconds)], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let errors = '';
  child.stderr.on('data', (chunk) => {
    errors = (errors + chunk).slice(-2000);
  });
  const ended = new Promise<number | null>((done) => {
    child.on('error', () => done(null));
    child.on('close', done);
  });
  for await (const line of createInterface({ input: child.stdout })) {
    if (!line.startsWith('{')) continue;
    say(`PyTorch: ${line}`);
    take(JSON.parse(line));
  }
  const status = await ended;
  if (status !== 0) {
    const reason = status === null ? 'not found' : errors.trim().split('\n').pop();
    say(`PyTorch was not measured: ${options.python}: ${reason}`);
    take({ kind: 'failed', error: `${options.python}: ${reason}` });
  }
}

if (options.help) process.stdout.write(HELP);
else
  run().then(
    () => process.exit(),
    (error) => {
      say(`bench:gpu: ${error instanceof Error ? error.message : error}`);
      process.exit(1);
    },
  );
