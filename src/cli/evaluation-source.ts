/** Which questions `evaluate` asks, and what is searched for them. Worlds are not mixed: a mean over Tinypedia and the real sets would mean nothing. */
import { basename } from 'node:path';
import { type BenchmarkName, benchmarkNames } from '../benchmarks/benchmark-names.js';
import { loadBenchmark, loadQuestions } from '../benchmarks/load.js';
import { type BenchmarkHalf, selectHalf } from '../benchmarks/split.js';
import { datasetPath } from '../platform/datasets.js';
import type { Question } from '../rollout/question.js';
import { loadCorpus } from '../search/corpus.js';
import { createSearcher } from '../search/minisearch.js';
import type { Searcher } from '../search/passage.js';
import { MINI_SETS, type MiniSet } from '../tinypedia/questions.js';
import { openClassroom } from './classroom.js';
import { givenBy, type Io, UsageError } from './io.js';
import type { ModelFlags } from './open-policy.js';

export type SetName = 'tinypedia' | 'all' | MiniSet | BenchmarkName;

/** What the options of `evaluate` say of the questions, and of who answers them. */
export interface SourceFlags extends ModelFlags {
  readonly agent: 'policy' | 'lexical';
  readonly set?: readonly SetName[];
  readonly questions?: string;
  readonly corpus?: readonly string[];
  readonly half?: BenchmarkHalf | 'both';
  readonly limit?: number;
}

/** Questions that are evaluated together, and come with the name of their set. */
export interface Part {
  readonly name: string;
  readonly questions: readonly Question[];
}

export interface EvaluationSource {
  readonly kind: 'tinypedia' | 'benchmark samples' | 'own questions';
  readonly parts: readonly Part[];
  readonly searcher: Searcher;
  /** In the corpus that is searched. */
  readonly passages: number;
  readonly half: BenchmarkHalf | 'both';
  /** What a reader of the numbers must know. */
  readonly remarks: readonly string[];
}

/** Passage collections that come with the package, each with the gold passages of its sample's questions. */
const SHIPPED_CORPORA = ['hotpotqa', '2wikimultihopqa', 'musique'] as const;

export async function openSource(flags: SourceFlags, io: Io): Promise<EvaluationSource> {
  if (flags.questions !== undefined) return ownQuestions(flags.questions, flags, io);
  const chosen = flags.set ?? [flags.agent === 'lexical' || flags.model !== undefined ? 'all' : 'tinypedia'];
  const mini = MINI_SETS.filter((set) => chosen.includes(set) || chosen.includes('tinypedia'));
  const real = benchmarkNames.filter((set) => chosen.includes(set) || chosen.includes('all'));
  if (mini.length && real.length) {
    throw new UsageError(
      `--set ${chosen.join(',')}: Tinypedia’s sets and the real benchmarks live in different worlds; evaluate them one after the other`,
    );
  }
  return mini.length ? classroomSets(mini, flags) : benchmarkSets(real, flags, io);
}

async function classroomSets(sets: readonly MiniSet[], { half, corpus, limit = 100, agent }: SourceFlags): Promise<EvaluationSource> {
  if (half !== undefined && half !== 'both')
    throw new UsageError('--half: Tinypedia’s sets have no halves; all of them are about entities that training never saw');
  if (corpus !== undefined) throw new UsageError('--corpus: Tinypedia’s questions can be answered from its own encyclopedia alone');
  const { world, environment } = await openClassroom(limit);
  return {
    kind: 'tinypedia',
    parts: sets.map((name) => ({ name, questions: world.sets[name].slice(0, limit) })),
    searcher: environment.searcher,
    passages: world.passages.length,
    half: 'both',
    remarks: agent === 'lexical' ? ['The lexical agent reads English prose; Tinypedia’s infoboxes are none.'] : [],
  };
}

async function benchmarkSets(sets: readonly BenchmarkName[], flags: SourceFlags, io: Io): Promise<EvaluationSource> {
  const { half = 'held-out' } = flags;
  const parts = await Promise.all(sets.map(async (name) => part(name, await loadBenchmark(name), half, flags.limit)));
  const without = sets.filter((set) => !(SHIPPED_CORPORA as readonly SetName[]).includes(set));
  return {
    kind: 'benchmark samples',
    parts,
    ...(await openCorpus(flags.corpus, io)),
    half,
    remarks: [
      ...(flags.agent === 'policy' && flags.policy === undefined && flags.model === undefined
        ? ['The base policy knows Tinypedia alone: near 0 is what it can reach on real questions.']
        : []),
      ...(without.length && flags.corpus === undefined
        ? [`The passages were not collected for ${without.join(', ')}: few of those questions can be answered from them.`]
        : []),
    ],
  };
}

async function ownQuestions(path: string, flags: SourceFlags, io: Io): Promise<EvaluationSource> {
  if (flags.set !== undefined) throw new UsageError('--questions and --set: give one of them');
  const { half = 'both' } = flags;
  const name = basename(path).replace(/\.jsonl(\.gz)?$/, '');
  const questions = await givenBy('--questions', () => loadQuestions(path, name, { signal: io.signal }));
  return {
    kind: 'own questions',
    parts: [part(name, questions, half, flags.limit)],
    ...(await openCorpus(flags.corpus, io)),
    half,
    remarks: flags.corpus === undefined ? ['No --corpus was given: the passages that come with the package were searched.'] : [],
  };
}

function part(name: string, all: readonly Question[], half: BenchmarkHalf | 'both', limit: number | undefined): Part {
  const questions = (half === 'both' ? all : selectHalf(all, half)).slice(0, limit);
  if (questions.length === 0) throw new UsageError(`${name} has no question in its ${half} half`);
  return { name, questions };
}

/** The searcher over passages, those that come with the package where no files are named. Passages of several files may have the same ids: the file's name goes before them. */
export async function openCorpus(paths: readonly string[] | undefined, io: Io): Promise<Pick<EvaluationSource, 'searcher' | 'passages'>> {
  return givenBy('--corpus', async () => {
    const files = paths ?? SHIPPED_CORPORA.map((name) => datasetPath('corpora', `${name}.jsonl.gz`));
    const passages = [];
    for (const file of files) {
      for (const passage of await loadCorpus(file, { signal: io.signal }))
        passages.push(files.length > 1 ? { ...passage, id: `${basename(file)}:${passage.id}` } : passage);
    }
    io.stderr.write(`search: ${passages.length} passages\n`);
    return { searcher: createSearcher(passages), passages: passages.length };
  });
}
