/**
 * Which text of an episode counts as its answer.
 *
 * This project scores the policy's own text alone, so that tags in a question, a passage or the prompt never count. Search-R1 scores the
 * whole sequence, prompt included, and has to skip the prompt's own example.
 */
import { checkText } from '../arguments.js';
import { strip } from './normalize.js';

/** The last complete `<answer>` of the policy's own text, stripped; null where there is none. An empty answer is an answer. */
export function extractAnswer(ownText: string): string | null {
  return answers(ownText).at(-1) ?? null;
}

/**
 * Search-R1's rule (`qa_em.py`), for comparison with its numbers: the last complete `<answer>` of the whole sequence, and none unless there
 * are two, because the prompt holds one example. What follows from it: without the prompt a right answer scores 0, and an answer
 * tag in a retrieved passage counts.
 */
export function extractAnswerSearchR1(sequence: string): string | null {
  const found = answers(sequence);
  return found.length < 2 ? null : found[found.length - 1];
}

function answers(text: string): string[] {
  checkText('extractAnswer', 'the sequence', text);
  return [...text.matchAll(/<answer>([\s\S]*?)<\/answer>/g)].map((match) => strip(match[1]));
}
