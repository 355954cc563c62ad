/** The study's table over seeds, and whether what the documentation claims was measured. */
import { mean, sampleStandardDeviation } from 'simple-statistics';
import { tableText } from '../display/table.js';
import { STUDY_ARMS, type StudyRecord, type StudySummary } from '../evolution/study.js';
import type { BackendReport } from '../tensors/backend.js';

/** A seed's record on disk: what was measured, and what by. */
export interface StoredStudy extends StudyRecord {
  readonly command: string;
  readonly date: string;
  readonly versions: Readonly<Record<string, string>>;
  readonly backend: BackendReport;
  readonly policy: string;
  /** Of its files (`policySum`). */
  readonly policySha256?: string;
  readonly questionsPerSet: number;
  readonly settings: unknown;
}

export interface Claim {
  readonly claim: string;
  /** One value a seed; null where the arm was not measured. */
  readonly values: readonly (number | null)[];
  readonly mean: number | null;
  /** Whether the mean over seeds bears it out. */
  readonly holds: boolean | null;
  /** In how many of the seeds it holds by itself. */
  readonly seeds: number;
}

const CLAIMS: readonly {
  readonly claim: string;
  readonly of: (record: StudyRecord) => number | null;
  readonly holds: (value: number) => boolean;
}[] = [
  {
    claim: 'GRPO lifts sampled exact match by at least 0.10',
    of: ({ base, grpo }) => exactMatch(grpo.sampled) - exactMatch(base.sampled),
    holds: (value) => value >= 0.1,
  },
  {
    claim: 'the teacher with the reference beats the student (exact match)',
    of: ({ teacher }) => (teacher ? teacher.teacher - teacher.student : null),
    holds: (value) => value > 0,
  },
  {
    claim: 'OFSD cuts greedy searches a question by at least 0.5',
    of: ({ grpo, arms }) => (arms.ofsd ? grpo.greedy.searches - arms.ofsd.greedy.searches : null),
    holds: (value) => value >= 0.5,
  },
  {
    claim: 'OFSD loses no greedy exact match',
    of: ({ grpo, arms }) => (arms.ofsd ? exactMatch(arms.ofsd.greedy) - exactMatch(grpo.greedy) : null),
    holds: (value) => value >= 0,
  },
  {
    claim: 'without the reference, searches are not cut by 0.5',
    of: ({ grpo, arms }) => (arms['no-reference'] ? grpo.greedy.searches - arms['no-reference'].greedy.searches : null),
    holds: (value) => value < 0.5,
  },
];

/** Every claim against every seed. */
export function checkClaims(records: readonly StudyRecord[]): Claim[] {
  return CLAIMS.map(({ claim, of, holds }) => {
    const values = records.map(of);
    const known = values.filter((value): value is number => value !== null);
    const average = known.length === values.length && known.length ? mean(known) : null;
    return { claim, values, mean: average, holds: average === null ? null : holds(average), seeds: known.filter(holds).length };
  });
}

/** Tables for people. */
export function describeStudy(records: readonly StoredStudy[]): string {
  const stages: [string, (record: StudyRecord) => StudySummary | undefined][] = [
    ['base', ({ base }) => base],
    ['GRPO', ({ grpo }) => grpo],
    ...STUDY_ARMS.map((arm): [string, (record: StudyRecord) => StudySummary | undefined] => [`GRPO + ${arm}`, ({ arms }) => arms[arm]]),
  ];
  const results = stages.flatMap(([policy, of]) => {
    const summaries = records.flatMap((record) => of(record) ?? []);
    if (summaries.length === 0) return [];
    const column = (value: (summary: StudySummary) => number) => spread(summaries.map(value));
    return [
      {
        policy,
        seeds: summaries.length,
        'greedy EM': column(({ greedy }) => exactMatch(greedy)),
        'sampled EM': column(({ sampled }) => exactMatch(sampled)),
        'greedy searches': column(({ greedy }) => greedy.searches),
        'sampled searches': column(({ sampled }) => sampled.searches),
      },
    ];
  });
  const claims = checkClaims(records).map(({ claim, values, mean: average, holds, seeds }) => ({
    claim,
    'by seed': values.map((value) => (value === null ? 'not measured' : signed(value))).join('  '),
    mean: average === null ? '' : signed(average),
    holds: holds === null ? 'not measured' : `${holds ? 'yes' : 'NO'} (${seeds} of ${records.length} seeds)`,
  }));
  const questions = records[0].base.greedy.n;
  return [
    tableText(results, {
      caption: `Seeds ${records.map(({ seed }) => seed).join(', ')}: macro mean of exact match over the seven mini sets (${questions} questions), mean ± standard deviation over seeds`,
    }),
    '',
    tableText(claims, { caption: 'What is claimed, and what was measured' }),
  ].join('\n');
}

const exactMatch = (summary: StudySummary['greedy']): number => summary.macroMean.value;
const spread = (values: readonly number[]): string =>
  values.length > 1 ? `${mean([...values]).toFixed(3)} ± ${sampleStandardDeviation([...values]).toFixed(3)}` : values[0].toFixed(3);
const signed = (value: number): string => `${value < 0 ? '−' : '+'}${Math.abs(value).toFixed(3)}`;
