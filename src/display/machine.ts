/** What `inspectBackends` found, as text and tables: `search-e1 doctor`, and the first cell of a notebook. */

import type { PolicyConfig } from '../policy/config.js';
import { type ModelSize, modelSize } from '../policy/model-size.js';
import { qwen25Configs } from '../policy/qwen2.5.js';
import type { BackendState, Inspection } from '../tensors/inspect.js';
import type { BackendSpeed } from '../tensors/measure.js';
import { escapeHtml, showHtml } from './bundle.js';
import { duration } from './progress.js';
import { type Row, tableHtml, tableText } from './table.js';

/**
 * Whether a model fits this machine.
 *
 * Which uses of a model fit into a backend's memory.
 */
export interface ModelFit {
  /** Its name. */
  readonly model: string;
  /** What it takes. */
  readonly size: ModelSize;
  /** The one that is reckoned with. */
  readonly backend: string;
  /** Whether it can write here. */
  readonly writing: boolean;
  /** With matrices kept in 16 bits. */
  readonly writingHalf: boolean;
  /** Whether an adapter of it can be trained here. */
  readonly adapter: boolean;
  /** Beside frozen matrices kept in 16 bits. */
  readonly adapterHalf: boolean;
  /** Whether all its weights can. */
  readonly whole: boolean;
  /** How long a step takes at the backend's measured speed; none where it was not measured. */
  readonly seconds?: StepSeconds;
}

/** Seconds: of a token to each of the sequences that are written, and of a micro-batch to train an adapter on, or all weights. */
export interface StepSeconds {
  readonly writing: number;
  readonly adapter: number;
  readonly whole: number;
}

/** Seconds beyond which what fits is of no use: a token, a micro-batch. */
const PATIENCE: StepSeconds = { writing: 5, adapter: 600, whole: 600 };
const SEQUENCES = 8;
const TOKENS = 1024;

/**
 * By the multiplications of the weights: 2 operations a weight and token forwards, 2 more for the gradient of what a layer reads, 2 more for that of the weights, and
 * 2 of the frozen reference where all weights are trained. A token cannot come sooner than the weights are read.
 */
function stepSeconds({ parameters }: ModelSize, { gigaflops, gigabytes }: BackendSpeed): StepSeconds {
  const seconds = (operations: number) => (operations * parameters) / (1e9 * gigaflops);
  return {
    writing: Math.max(seconds(2 * SEQUENCES), (4 * parameters) / (1e9 * gigabytes)),
    adapter: seconds(4 * TOKENS),
    whole: seconds(8 * TOKENS),
  };
}

const QWEN25: Readonly<Record<string, PolicyConfig>> = Object.fromEntries(
  Object.entries(qwen25Configs).map(([size, config]) => [`Qwen2.5-${size.toUpperCase()}`, config]),
);

/**
 * Each model on each backend that starts and says how much memory it has. A weight larger than a tensor may be fits nowhere.
 *
 * @example
 * ```ts
 * import { modelFits } from 'search-e1/display';
 *
 * const gibibyte = 2 ** 30;
 * const machine = { processor: 'A processor', cores: 2, memory: 8 * gibibyte, free: 4 * gibibyte, cards: [], backends: [{ name: 'simd' as const, memory: 4 * gibibyte }], chosen: 'simd' as const, why: 'it starts' };
 * modelFits(machine).map(({ model, writing }) => `${model} ${writing}`)[0]; // 'Qwen2.5-0.5B true'
 * ```
 */
export function modelFits({ backends }: Inspection, models: Readonly<Record<string, PolicyConfig>> = QWEN25): readonly ModelFit[] {
  return backends.flatMap(({ name, memory, speed, largestTensor = Number.POSITIVE_INFINITY }) =>
    memory
      ? Object.entries(models).map(([model, config]) => {
          const size = modelSize(config, { sequences: SEQUENCES, tokensPerMicroBatch: TOKENS });
          const fits = (bytes: number, largest = size.largestWeight) => bytes <= memory && largest <= largestTensor;
          const halved = size.largestWeight / 2; // in 16 bits
          return {
            ...{ model, size, backend: name, whole: fits(size.whole) },
            ...{ writing: fits(size.writing), writingHalf: fits(size.writing - size.halfSaves, halved) },
            ...{ adapter: fits(size.adapter), adapterHalf: fits(size.adapter - size.halfSaves, halved) },
            ...(speed && { seconds: stepSeconds(size, speed) }),
          };
        })
      : [],
  );
}

/**
 * The inspection as lines of text.
 *
 * @example
 * ```ts
 * import { machineText } from 'search-e1/display';
 *
 * const gibibyte = 2 ** 30;
 * const machine = { processor: 'A processor', cores: 2, memory: 8 * gibibyte, free: 4 * gibibyte, cards: [], backends: [{ name: 'simd' as const, memory: 4 * gibibyte }], chosen: 'simd' as const, why: 'it starts' };
 * machineText(machine).includes('A processor'); // true
 * ```
 */
export function machineText(inspection: Inspection, fits: readonly ModelFit[] = modelFits(inspection)): string {
  const { cards, backends } = inspection;
  return [
    processorLine(inspection),
    ...(cards.length
      ? cards.map(({ name, driver, memory, free }) => `${name}, driver ${driver}, ${size(memory)}, ${size(free)} free`)
      : ['no NVIDIA card']),
    '',
    tableText(backends.map(backendRow), { caption: chosenLine(inspection) }),
    ...backends.flatMap((state) => (state.reason ? [`${state.name}: ${state.reason}${state.remedy ? `. Run: ${state.remedy}` : ''}`] : [])),
    '',
    tableText(fitRows(fits), { caption: FITS_CAPTION }),
  ].join('\n');
}

/**
 * Shows the inspection below the running cell, with what fits on the backend that is taken; prints it elsewhere.
 *
 * @example
 * ```ts
 * import { showMachine } from 'search-e1/display';
 *
 * const gibibyte = 2 ** 30;
 * showMachine({ processor: 'A processor', cores: 2, memory: 8 * gibibyte, free: 4 * gibibyte, cards: [], backends: [{ name: 'simd' as const, memory: 4 * gibibyte }], chosen: 'simd', why: 'it starts' });
 * ```
 */
export function showMachine(
  inspection: Inspection,
  fits: readonly ModelFit[] = modelFits(inspection).filter(({ backend }) => backend === inspection.chosen),
): void {
  const reasons = inspection.backends.filter(({ reason }) => reason);
  const html = [
    `<p>${escapeHtml(processorLine(inspection))}</p>`,
    tableHtml(inspection.backends.map(backendRow), { caption: chosenLine(inspection) }),
    ...reasons.map(
      ({ name, reason, remedy }) => `<p>${escapeHtml(`${name}: ${reason}`)}${remedy ? `. Run <code>${escapeHtml(remedy)}</code>` : ''}</p>`,
    ),
    tableHtml(fitRows(fits), { caption: FITS_CAPTION }),
  ].join('\n');
  showHtml(html, machineText(inspection, fits));
}

const FITS_CAPTION =
  'fits: writing 8 sequences of 4,096 tokens; training a LoRA adapter of rank 64, or all weights, 1,024 tokens a micro-batch; in float32, and with frozen matrices kept in 16 bits; too slow: at the measured speed more than 5 seconds a token of each sequence, or 10 minutes a micro-batch';

const processorLine = ({ processor, cores, memory, free }: Inspection): string =>
  `${processor}, ${cores} ${cores === 1 ? 'core' : 'cores'}, ${size(memory)} of memory, ${size(free)} free`;

const chosenLine = ({ chosen, why }: Inspection): string => `taken: ${chosen}, ${why}`;

function backendRow({ name, report, speed, memory }: BackendState): Row {
  return {
    backend: name,
    device: report ? report.device : '–',
    'GFLOP/s': speed ? figure(speed.gigaflops) : '–',
    'GB/s': speed ? figure(speed.gigabytes) : '–',
    memory: memory ? size(memory) : '–',
    kernels: report?.kernels ?? '–',
    what: report?.description ?? 'not available',
  };
}

/** Three digits, without an exponent: 33,900. */
const figure = (value: number): string =>
  value < 100 ? value.toPrecision(3) : Math.round(Number(value.toPrecision(3))).toLocaleString('en');

const fitRows = (fits: readonly ModelFit[]): readonly Row[] =>
  fits.map(({ model, size: { parameters, writing, adapter, whole, halfSaves }, ...fit }) => {
    const verdict = (fits: boolean, bytes: number, step: keyof StepSeconds): string => {
      const seconds = fit.seconds?.[step] ?? 0;
      if (!fits) return `no (${size(bytes)})`;
      return seconds > PATIENCE[step] ? `too slow (${size(bytes)}, ${duration(seconds)})` : `yes (${size(bytes)})`;
    };
    return {
      model,
      parameters: parameters < 1e9 ? `${(parameters / 1e6).toPrecision(3)} million` : `${(parameters / 1e9).toPrecision(3)} billion`,
      backend: fit.backend,
      writing: verdict(fit.writing, writing, 'writing'),
      'in 16 bits': verdict(fit.writingHalf, writing - halfSaves, 'writing'),
      adapter: verdict(fit.adapter, adapter, 'adapter'),
      'on 16 bits': verdict(fit.adapterHalf, adapter - halfSaves, 'adapter'),
      'all weights': verdict(fit.whole, whole, 'whole'),
    };
  });

const size = (bytes: number): string => (bytes >= 2 ** 30 ? `${(bytes / 2 ** 30).toFixed(1)} GiB` : `${(bytes / 2 ** 20).toFixed(0)} MiB`);
