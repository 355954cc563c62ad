/** A record as a table of ratios, in Markdown: it reads in a terminal as well. */
import { COST_GROWTH_GOAL, costGrowth, FLAT, growthOfSecondHalf, MEMORY_GOAL, rate } from './goals.js';
import type { Profile } from './messages.js';
import { type BenchRecord, isBusy, type MemoryResult, type Result } from './record.js';
import { speedRatio, summarize } from './statistics.js';

/** Headers and rows. */
type Rows = readonly (readonly string[])[];

/** The whole record for people; `profiles`: with where the time of each work went, if that was asked for when it was measured. */
export function recordTables(record: BenchRecord, { profiles = true } = {}): string {
  const { machine, versions, peaks, results, memory, refused } = record;
  const mark = markIn(record);
  const notes = [
    ...(record.size === 'small' ? ['tiny shapes, whose speed says nothing'] : []),
    ...(record.complete ? [] : ['interrupted']),
    ...(isBusy(machine) ? [`busy with other work: load ${machine.load.toFixed(1)} at the start`] : []),
  ];
  const parts = [
    `${machine.cpu}, ${machine.cores} cores, ${machine.platform}, ${[record.date.slice(0, 10), ...notes].join('; ')}. ${named(versions)}.`,
    ...peaks.map(({ threads, ours, theirs, backends }) => {
      const torch = theirs === null ? '; no peers: nothing was compared or checked' : `, torch ${gflops(theirs)}`;
      return `Peak of an fp32 matMul, ${threadsOf(threads)}: ours ${gflops(ours)}${torch}. ${backends.join('; ')}.`;
    }),
  ];
  const measured = [...new Set(peaks.map(({ backend }) => backend))];
  /** The backend's name before what is said of it, where there are several. */
  const on = (backend: string | undefined) => (measured.length > 1 ? `${backend}, ` : '');
  const compared = results.filter(({ name }) => !name.startsWith('sweep'));
  if (compared.length) parts.push(markdown(measured.length > 1 ? columnRows(record, compared, measured) : ratioRows(record, compared)));
  for (const backend of measured) {
    const swept = results.filter((result) => result.name.startsWith('sweep') && result.backend === backend);
    if (swept.length) parts.push(markdown(sweepRows(record, swept, `${on(backend)}sweep`)), sweepSentence(swept, mark, on(backend)));
  }
  if (profiles) for (const result of results) if (result.profile) parts.push(markdown(profileRows(record, result, result.profile)));
  if (memory.length) parts.push(memory.map((of) => memorySentence(of, mark, on(of.backend))).join('\n'));
  if (refused.length)
    parts.push(
      refused.map(({ name, backend, threads, reason }) => `not timed: ${name}, ${on(backend)}${threadsOf(threads)}: ${reason}`).join('\n'),
    );
  return `${parts.join('\n\n')}\n`;
}

/** Timings beside the peer's: how many times as fast ours is, and each side's share of its own matMul peak. */
function ratioRows(record: BenchRecord, results: readonly Result[]): Rows {
  const mark = markIn(record);
  return [
    ['work', 'threads', 'ours', 'peer', 'times as fast', 'least – most', 'goal', 'of peak, ours', 'of peak, peer', 'beside'],
    ...results.map((result) => {
      const { title, threads, goal, ours, theirs, peer } = result;
      const ratio = theirs.length ? speedRatio(ours, theirs) : null;
      return [
        title,
        String(threads),
        seconds(summarize(ours).median),
        ratio ? seconds(summarize(theirs).median) : '–',
        ratio ? `**${ratio.median.toFixed(2)}**` : '–',
        ratio ? `${ratio.least.toFixed(2)} – ${ratio.most.toFixed(2)}` : '–',
        goal === null ? '–' : `${goal}${ratio ? mark(ratio.median >= goal) : ''}`,
        share(record, result, 'ours'),
        share(record, result, 'theirs'),
        peer,
      ];
    }),
  ];
}

/** The same with a group of columns for each backend. */
function columnRows(record: BenchRecord, results: readonly Result[], backends: readonly (string | undefined)[]): Rows {
  const mark = markIn(record);
  const cellsOf = (result: Result | undefined): string[] => {
    if (!result) return ['–', '–', '–', '–'];
    const { goal, ours, theirs } = result;
    const ratio = theirs.length ? speedRatio(ours, theirs) : null;
    return [
      seconds(summarize(ours).median),
      ratio ? `**${ratio.median.toFixed(2)}** (${ratio.least.toFixed(2)} – ${ratio.most.toFixed(2)})` : '–',
      goal === null ? '–' : `${goal}${ratio ? mark(ratio.median >= goal) : ''}`,
      share(record, result, 'ours'),
    ];
  };
  const lines = [...new Map(results.map((result) => [`${result.name} ${result.threads}`, result])).values()];
  return [
    ['work', 'threads', ...backends.flatMap((backend) => [`${backend}`, 'times as fast', 'goal', 'of peak']), 'peer', 'of peak', 'beside'],
    ...lines.map(({ name, title, threads, theirs, peer }) => {
      const of = backends.map((backend) => results.find((r) => r.name === name && r.threads === threads && r.backend === backend));
      const one = of.find((result) => result) as Result;
      return [
        title,
        String(threads),
        ...of.flatMap(cellsOf),
        theirs.length ? seconds(summarize(theirs).median) : '–',
        share(record, one, 'theirs'),
        peer,
      ];
    }),
  ];
}

function sweepRows(record: BenchRecord, results: readonly Result[], heading: string): Rows {
  return [
    [heading, 'threads', 'ours', 'GFLOP/s', 'cost of an operation', 'of peak, ours', 'peer', 'times as fast'],
    ...results.map((result) => [
      `${result.name.replace('sweep: ', '')}: ${result.title}`,
      String(result.threads),
      seconds(summarize(result.ours).median),
      rate(result.flops, result.ours).toFixed(1),
      `${costGrowth(results, result).toFixed(2)} x`,
      share(record, result, 'ours'),
      result.theirs.length ? seconds(summarize(result.theirs).median) : '–',
      result.theirs.length ? speedRatio(result.ours, result.theirs).median.toFixed(2) : '–',
    ]),
  ];
}

/** Operations that take less than this share of the time are one row. */
const LEAST_SHARE = 0.01;

/** Operation by operation, the longest first: its share of the time, and of the peak where it is a product of matrices. */
function profileRows(record: BenchRecord, { title, backend, threads }: Result, { seconds: total, operations }: Profile): Rows {
  const peak = peakOf(record, backend, threads, 'ours');
  const row = (name: string, calls: number | null, time: number, flops: number): string[] => [
    name,
    calls === null ? '–' : String(calls),
    seconds(time),
    percent(time / total),
    flops ? (flops / time / 1e9).toFixed(1) : '–',
    flops && peak ? percent(flops / time / 1e9 / peak) : '–',
  ];
  const sorted = [...operations].sort((a, b) => b.seconds - a.seconds);
  const small = sorted.filter((operation) => operation.seconds < LEAST_SHARE * total);
  const sum = (of: Profile['operations'], key: 'calls' | 'seconds' | 'flops') => of.reduce((all, operation) => all + operation[key], 0);
  return [
    [`${title}: where the time goes, ${backend}, ${threadsOf(threads)}`, 'calls', 'time', 'of all', 'GFLOP/s', 'of peak'],
    ...sorted.filter((operation) => !small.includes(operation)).map(({ name, calls, seconds, flops }) => row(name, calls, seconds, flops)),
    ...(small.length ? [row(`${small.length} others`, sum(small, 'calls'), sum(small, 'seconds'), sum(small, 'flops'))] : []),
    row('JavaScript between them', null, total - sum(sorted, 'seconds'), 0),
    row('together', sum(sorted, 'calls'), total, sum(sorted, 'flops')),
  ];
}

/** Whether a goal holds; nothing where the shapes are too small for a goal to mean anything. */
type Mark = (holds: boolean) => string;

const markIn =
  ({ size }: BenchRecord): Mark =>
  (holds) =>
    size === 'small' ? '' : holds ? ' ✓' : ' ✗';

function sweepSentence(results: readonly Result[], mark: Mark, on: string): string {
  return [...new Set(results.map(({ threads }) => threads))]
    .map((threads) => {
      const worst = Math.max(...results.filter((r) => r.threads === threads).map((r) => costGrowth(results, r)));
      const goal = `goal: at most ${COST_GROWTH_GOAL.toFixed(2)} x${mark(worst <= COST_GROWTH_GOAL)}`;
      return `Over the sweep the cost of a useful operation grows to ${worst.toFixed(2)} x, ${on}${threadsOf(threads)} (${goal}).`;
    })
    .join('\n');
}

function memorySentence({ threads, steps, ours, theirs }: MemoryResult, mark: Mark, on: string): string {
  const growth = growthOfSecondHalf(ours.rss);
  const size = `at most ${megabytes(ours.peak)} above the start (goal: below ${megabytes(MEMORY_GOAL)}${mark(ours.peak < MEMORY_GOAL)})`;
  const flat = `${megabytes(growth)} more over the second half (goal: flat${mark(growth <= FLAT * ours.peak)})`;
  return `Memory over ${steps} training steps, ${on}${threadsOf(threads)}: ${size}, ${flat}${theirs ? `; PyTorch ${megabytes(theirs.peak)}` : ''}.`;
}

function share(record: BenchRecord, { backend, threads, flops, ...times }: Result, side: 'ours' | 'theirs'): string {
  const peak = peakOf(record, backend, threads, side);
  if (!peak || times[side].length === 0) return '–';
  return percent(flops / summarize(times[side]).median / 1e9 / peak);
}

const peakOf = ({ peaks }: BenchRecord, backend: string | undefined, threads: number, side: 'ours' | 'theirs'): number | null =>
  peaks.find((peak) => peak.threads === threads && peak.backend === backend)?.[side] ?? null;

/** Markdown, its columns padded to one width. */
export function markdown([header, ...rows]: Rows): string {
  const widths = header.map((title, column) => Math.max(3, title.length, ...rows.map((row) => row[column].length)));
  const line = (cells: readonly string[]) => `| ${cells.map((cell, i) => cell.padEnd(widths[i])).join(' | ')} |`;
  return [line(header), line(widths.map((width) => '-'.repeat(width))), ...rows.map(line)].join('\n');
}

const named = (versions: BenchRecord['versions']): string =>
  Object.entries(versions)
    .map(([name, version]) => `${name} ${version}`)
    .join(', ');
const percent = (share: number): string => `${(share * 100).toFixed(0)} %`;
const threadsOf = (n: number): string => `${n} ${n === 1 ? 'thread' : 'threads'}`;
const seconds = (s: number): string => (s < 1 ? `${(s * 1000).toFixed(s < 0.1 ? 1 : 0)} ms` : `${s.toFixed(2)} s`);
const gflops = (g: number): string => `${g.toFixed(0)} GFLOP/s`;
const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(0)} MB`;

const BEGIN = '<!-- made by `npm run bench -- --readme` from the newest record -->';
const END = '<!-- end -->';

/** README's text with the record's table between its marks. */
export function withTable(readme: string, record: BenchRecord | null): string {
  const from = readme.indexOf(BEGIN);
  const to = readme.indexOf(END, from);
  if (from < 0 || to < 0) throw new Error(`README.md has no ${from < 0 ? BEGIN : END}: the table has no place`);
  const text = record ? recordTables(record, { profiles: false }) : 'No record yet: `npm run bench -- --record` makes one.\n';
  return `${readme.slice(0, from + BEGIN.length)}\n\n${text}\n${readme.slice(to)}`;
}
