/** What `inspectBackends` found, as text and tables: `search-e1 doctor`, and the first cell of a notebook. */

import type { PolicyConfig } from '../policy/config.js';
import { type ModelSize, modelSize } from '../policy/model-size.js';
import { qwen25Configs } from '../policy/qwen2.5.js';
import type { BackendState, Inspection } from '../tensors/inspect.js';
import { escapeHtml, showHtml } from './bundle.js';
import { type Row, tableHtml, tableText } from './table.js';

/** Which uses of a model fit into a backend's memory. */
export interface ModelFit {
  readonly model: string;
  readonly size: ModelSize;
  readonly backend: string;
  readonly writing: boolean;
  /** With matrices kept in 16 bits. */
  readonly writingHalf: boolean;
  readonly adapter: boolean;
  /** Beside frozen matrices kept in 16 bits. */
  readonly adapterHalf: boolean;
  readonly whole: boolean;
}

const QWEN25: Readonly<Record<string, PolicyConfig>> = Object.fromEntries(
  Object.entries(qwen25Configs).map(([size, config]) => [`Qwen2.5-${size.toUpperCase()}`, config]),
);

/** Each model on each backend that starts and says how much memory it has. A weight larger than a tensor may be fits nowhere. */
export function modelFits({ backends }: Inspection, models: Readonly<Record<string, PolicyConfig>> = QWEN25): readonly ModelFit[] {
  return backends.flatMap(({ name, memory, largestTensor = Number.POSITIVE_INFINITY }) =>
    memory
      ? Object.entries(models).map(([model, config]) => {
          const size = modelSize(config);
          const fits = (bytes: number, largest = size.largestWeight) => bytes <= memory && largest <= largestTensor;
          const halved = size.largestWeight / 2; // in 16 bits
          return {
            ...{ model, size, backend: name, whole: fits(size.whole) },
            ...{ writing: fits(size.writing), writingHalf: fits(size.writing - size.halfSaves, halved) },
            ...{ adapter: fits(size.adapter), adapterHalf: fits(size.adapter - size.halfSaves, halved) },
          };
        })
      : [],
  );
}

/** The inspection as lines of text. */
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

/** Shows the inspection below the running cell, with what fits on the backend that is taken; prints it elsewhere. */
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
  'fits: writing 8 sequences of 4,096 tokens; training a LoRA adapter of rank 64, or all weights, 1,024 tokens a micro-batch; in float32, and with frozen matrices kept in 16 bits';

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
  fits.map(({ model, size: { parameters, writing, adapter, whole, halfSaves }, ...fit }) => ({
    model,
    parameters: parameters < 1e9 ? `${(parameters / 1e6).toPrecision(3)} million` : `${(parameters / 1e9).toPrecision(3)} billion`,
    backend: fit.backend,
    writing: verdict(fit.writing, writing),
    'in 16 bits': verdict(fit.writingHalf, writing - halfSaves),
    adapter: verdict(fit.adapter, adapter),
    'on 16 bits': verdict(fit.adapterHalf, adapter - halfSaves),
    'all weights': verdict(fit.whole, whole),
  }));

const verdict = (fits: boolean, bytes: number): string => `${fits ? 'yes' : 'no'} (${size(bytes)})`;

const size = (bytes: number): string => (bytes >= 2 ** 30 ? `${(bytes / 2 ** 30).toFixed(1)} GiB` : `${(bytes / 2 ** 20).toFixed(0)} MiB`);
