/**
 * The seven benchmarks of Search-R1 and Search-E1, in the order every paper prints them.
 *
 * Sizes are those of the splits Search-R1 evaluates (FlashRAG's `test`, else `dev`): FlashRAG README, commit 1ee52490.
 */
export const benchmarkNames = ['nq', 'triviaqa', 'popqa', 'hotpotqa', '2wikimultihopqa', 'musique', 'bamboogle'] as const;

export type BenchmarkName = (typeof benchmarkNames)[number];

export interface Benchmark {
  readonly name: BenchmarkName;
  readonly display: string;
  /** Questions of the whole split; together 51,713. The samples shipped in `datasets/` hold up to 500 of them. */
  readonly size: number;
  readonly split: 'test' | 'dev';
  /** Search-R1 and Search-E1 train on this set's training questions (NQ and HotpotQA). */
  readonly inDomain: boolean;
  readonly hops: 'single' | 'multi';
  /** A passage corpus with gold passages is shipped beside the sample. */
  readonly hasCorpus: boolean;
}

export const benchmarks: Readonly<Record<BenchmarkName, Benchmark>> = {
  nq: { name: 'nq', display: 'NQ', size: 3_610, split: 'test', inDomain: true, hops: 'single', hasCorpus: false },
  triviaqa: { name: 'triviaqa', display: 'TriviaQA', size: 11_313, split: 'test', inDomain: false, hops: 'single', hasCorpus: false },
  popqa: { name: 'popqa', display: 'PopQA', size: 14_267, split: 'test', inDomain: false, hops: 'single', hasCorpus: false },
  hotpotqa: { name: 'hotpotqa', display: 'HotpotQA', size: 7_405, split: 'dev', inDomain: true, hops: 'multi', hasCorpus: true },
  '2wikimultihopqa': {
    name: '2wikimultihopqa',
    display: '2Wiki',
    size: 12_576,
    split: 'dev',
    inDomain: false,
    hops: 'multi',
    hasCorpus: true,
  },
  musique: { name: 'musique', display: 'MuSiQue', size: 2_417, split: 'dev', inDomain: false, hops: 'multi', hasCorpus: true },
  bamboogle: { name: 'bamboogle', display: 'Bamboogle', size: 125, split: 'test', inDomain: false, hops: 'multi', hasCorpus: false },
};
