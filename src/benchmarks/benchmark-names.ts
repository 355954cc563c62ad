/**
 * The seven benchmarks of Search-R1 and Search-E1, in the order every paper prints them.
 *
 * Sizes are those of the splits Search-R1 evaluates (FlashRAG's `test`, else `dev`): FlashRAG README, commit 1ee52490.
 */
import type { F1Rule } from '../reward/f1.js';

/** The seven, in the paper's order: single-hop sets, then multi-hop. */
export const benchmarkNames = ['nq', 'triviaqa', 'popqa', 'hotpotqa', '2wikimultihopqa', 'musique', 'bamboogle'] as const;

/** The seven by name. */
export type BenchmarkName = (typeof benchmarkNames)[number];

/** One of the paper's seven sets. */
export interface Benchmark {
  /** As in files and options. */
  readonly name: BenchmarkName;
  /** As papers write it. */
  readonly display: string;
  /** Questions of the whole split; together 51,713. The samples shipped in `datasets/` hold up to 500 of them. */
  readonly size: number;
  /** Which questions the paper answers. */
  readonly split: 'test' | 'dev';
  /** Search-R1 and Search-E1 train on this set's training questions (NQ and HotpotQA). */
  readonly inDomain: boolean;
  /** Facts that an answer takes: one, or several to be found one after the other. */
  readonly hops: 'single' | 'multi';
  /** How its F1 is counted. */
  readonly f1: F1Rule;
  /** The set's owners publish F1. Of NQ (open), PopQA and Bamboogle they do not: there SQuAD's stands beside exact match. */
  readonly officialF1: boolean;
  /** A passage corpus with gold passages is shipped beside the sample. */
  readonly hasCorpus: boolean;
}

/** What is known of each set. */
export const benchmarks: Readonly<Record<BenchmarkName, Benchmark>> = {
  nq: {
    name: 'nq',
    display: 'NQ',
    size: 3_610,
    split: 'test',
    inDomain: true,
    hops: 'single',
    f1: 'squad',
    officialF1: false,
    hasCorpus: false,
  },
  triviaqa: {
    name: 'triviaqa',
    display: 'TriviaQA',
    size: 11_313,
    split: 'test',
    inDomain: false,
    hops: 'single',
    f1: 'triviaqa',
    officialF1: true,
    hasCorpus: false,
  },
  popqa: {
    name: 'popqa',
    display: 'PopQA',
    size: 14_267,
    split: 'test',
    inDomain: false,
    hops: 'single',
    f1: 'squad',
    officialF1: false,
    hasCorpus: false,
  },
  hotpotqa: {
    name: 'hotpotqa',
    display: 'HotpotQA',
    size: 7_405,
    split: 'dev',
    inDomain: true,
    hops: 'multi',
    f1: 'hotpotqa',
    officialF1: true,
    hasCorpus: true,
  },
  '2wikimultihopqa': {
    name: '2wikimultihopqa',
    display: '2Wiki',
    size: 12_576,
    split: 'dev',
    inDomain: false,
    hops: 'multi',
    f1: 'hotpotqa',
    officialF1: true,
    hasCorpus: true,
  },
  musique: {
    name: 'musique',
    display: 'MuSiQue',
    size: 2_417,
    split: 'dev',
    inDomain: false,
    hops: 'multi',
    f1: 'squad',
    officialF1: true,
    hasCorpus: true,
  },
  bamboogle: {
    name: 'bamboogle',
    display: 'Bamboogle',
    size: 125,
    split: 'test',
    inDomain: false,
    hops: 'multi',
    f1: 'squad',
    officialF1: false,
    hasCorpus: false,
  },
};

/**
 * The rule by which F1 is counted on a set: the benchmark's own, a mini set's its big sister's, and SQuAD's for any other set.
 *
 * HotpotQA's and 2Wiki's scorers give 0 where one side is yes, no or noanswer and the other is not; MuSiQue's is SQuAD's; TriviaQA's has its own normal form.
 */
export function f1RuleOf(dataset: string): F1Rule {
  const sister = dataset.replace(/-mini$/, '');
  const name = sister === '2wiki' ? '2wikimultihopqa' : sister;
  return Object.hasOwn(benchmarks, name) ? benchmarks[name as BenchmarkName].f1 : 'squad';
}
