/**
 * Questions from disk, in FlashRAG's schema: one JSON object a line.
 *
 *     {"id": "test_0", "question": "...", "golden_answers": ["...", "..."], "metadata": {...}}
 *
 * The samples shipped in `datasets/benchmarks` and the full files of RUC-NLPIR/FlashRAG_datasets read alike.
 */
import { readFile } from 'node:fs/promises';
import * as z from 'zod';
import { datasetPath } from '../datasets.js';
import type { Question } from '../rollout/question.js';
import type { BenchmarkName } from './benchmark-names.js';

const QuestionLine = z.object({
  id: z.union([z.string().min(1), z.number()]).transform(String),
  question: z.string().trim().min(1),
  golden_answers: z.array(z.string()).min(1),
  metadata: z.record(z.string(), z.unknown()).nullish(),
});

/**
 * All questions of a JSONL file, `dataset` written into each.
 *
 * Throws once, with every bad line named (the first 20 in words): not JSON, a missing or wrong field, an id seen before.
 */
export async function loadQuestions(path: string, dataset: string): Promise<Question[]> {
  const questions: Question[] = [];
  const problems: string[] = [];
  const lineOf = new Map<string, number>();
  const lines = (await readFile(path, 'utf8')).split('\n');
  for (const [index, line] of lines.entries()) {
    if (line.trim() === '') continue;
    const number = index + 1;
    const question = parseLine(line, dataset);
    if (typeof question === 'string') problems.push(`line ${number}: ${question}`);
    else if (lineOf.has(question.id))
      problems.push(`line ${number}: id "${question.id}" was seen before, on line ${lineOf.get(question.id)}`);
    else {
      lineOf.set(question.id, number);
      questions.push(question);
    }
  }
  if (problems.length > 0) {
    const more = problems.length > 20 ? [`... and ${problems.length - 20} more`] : [];
    throw new Error(
      `${path}: ${problems.length} bad ${problems.length === 1 ? 'line' : 'lines'}; expected {"id", "question", "golden_answers": [...]} a line\n  ` +
        [...problems.slice(0, 20), ...more].join('\n  '),
    );
  }
  if (questions.length === 0) throw new Error(`${path}: no questions in the file`);
  return questions;
}

/** The sample of a benchmark shipped with the package. */
export const loadBenchmark = (name: BenchmarkName): Promise<Question[]> => loadQuestions(datasetPath('benchmarks', `${name}.jsonl`), name);

/** The question of a line, or what is wrong with it. */
function parseLine(line: string, dataset: string): Question | string {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (error) {
    return `not JSON (${(error as Error).message})`;
  }
  const parsed = QuestionLine.safeParse(value);
  if (!parsed.success) return parsed.error.issues.map((issue) => `${issue.path.join('.') || 'line'}: ${issue.message}`).join('; ');
  const { id, question, golden_answers, metadata } = parsed.data;
  return { id, dataset, question, goldenAnswers: golden_answers, ...(metadata ? { metadata } : {}) };
}
