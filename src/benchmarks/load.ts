/**
 * Questions from disk, in FlashRAG's schema: one JSON object a line.
 *
 *     {"id": "test_0", "question": "...", "golden_answers": ["...", "..."], "metadata": {...}}
 *
 * The samples shipped in `datasets/benchmarks` and the full files of RUC-NLPIR/FlashRAG_datasets read alike.
 */
import { checkChoice, checkPath, checkText } from '../arguments.js';
import { datasetPath } from '../platform/datasets.js';
import type { Question } from '../rollout/question.js';
import { MAX_IN_MEMORY } from '../search/corpus.js';
import { type ReadLinesOptions, readLines } from '../search/lines.js';
import { type BenchmarkName, benchmarkNames } from './benchmark-names.js';

/** Loaded with the first file: whoever reads none shall not wait for the library. */
async function questionLine() {
  const z = await import('zod');
  return z.object({
    id: z.union([z.string().min(1), z.number()]).transform(String),
    question: z.string().trim().min(1),
    golden_answers: z.array(z.string()).min(1),
    metadata: z.record(z.string(), z.unknown()).nullish(),
  });
}
type QuestionLine = Awaited<ReturnType<typeof questionLine>>;

/**
 * All questions of a JSONL file, plain or gzip, `dataset` written into each.
 *
 * Throws once, with every bad line counted (the first 20 in words): not JSON, a missing or wrong field, an id seen before. Throws at once where a limit is
 * exceeded:
 * `maxBytes` is 4 GiB by default (HotpotQA's 90,447 training questions with their contexts take half of one).
 *
 * @example
 * ```ts
 * import { mkdtemp, writeFile } from 'node:fs/promises';
 * import { tmpdir } from 'node:os';
 * import { join } from 'node:path';
 * import { loadQuestions } from 'search-e1/benchmarks';
 *
 * const path = join(await mkdtemp(join(tmpdir(), 'questions-')), 'own.jsonl');
 * await writeFile(path, '{"id": "a", "question": "who is Ada ?", "golden_answers": ["Ada Lovelace"]}\n');
 * const [{ id, goldenAnswers }] = await loadQuestions(path, 'own');
 * [id, goldenAnswers]; // [ 'a', [ 'Ada Lovelace' ] ]
 * ```
 */
export async function loadQuestions(path: string, dataset: string, options: ReadLinesOptions = {}): Promise<Question[]> {
  checkPath('loadQuestions', path);
  checkText('loadQuestions', 'dataset', dataset);
  const schema = await questionLine();
  const questions: Question[] = [];
  const problems: string[] = [];
  const lineOf = new Map<string, number>();
  let bad = 0;
  let number = 0;
  const read = (line: string) => {
    number++;
    if (line.trim() === '') return;
    const question = parseLine(line, dataset, schema);
    const seen = typeof question === 'string' ? undefined : lineOf.get(question.id);
    const problem = typeof question === 'string' ? question : seen && `id "${question.id}" was seen before, on line ${seen}`;
    if (problem) {
      if (++bad <= 20) problems.push(`line ${number}: ${problem}`);
    } else if (typeof question !== 'string') {
      lineOf.set(question.id, number);
      questions.push(question);
    }
  };
  for await (const lines of readLines(path, { maxBytes: MAX_IN_MEMORY, ...options })) lines.forEach(read);
  if (bad > 0) {
    const more = bad > 20 ? [`... and ${bad - 20} more`] : [];
    throw new Error(
      `${path}: ${bad} bad ${bad === 1 ? 'line' : 'lines'}; expected {"id", "question", "golden_answers": [...]} a line\n  ` +
        [...problems, ...more].join('\n  '),
    );
  }
  if (questions.length === 0) throw new Error(`${path}: no questions in the file`);
  return questions;
}

/**
 * The sample of a benchmark shipped with the package.
 *
 * @example
 * ```ts
 * import { loadBenchmark } from 'search-e1/benchmarks';
 *
 * const questions = await loadBenchmark('bamboogle');
 * questions[0].dataset; // 'bamboogle'
 * ```
 */
export async function loadBenchmark(name: BenchmarkName): Promise<Question[]> {
  checkChoice('loadBenchmark', 'name', name, benchmarkNames);
  return loadQuestions(datasetPath('benchmarks', `${name}.jsonl`), name);
}

/** The question of a line, or what is wrong with it. */
function parseLine(line: string, dataset: string, schema: QuestionLine): Question | string {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (error) {
    return `not JSON (${(error as Error).message})`;
  }
  const parsed = schema.safeParse(value);
  if (!parsed.success) return parsed.error.issues.map((issue) => `${issue.path.join('.') || 'line'}: ${issue.message}`).join('; ');
  const { id, question, golden_answers, metadata } = parsed.data;
  return { id, dataset, question, goldenAnswers: golden_answers, ...(metadata ? { metadata } : {}) };
}
