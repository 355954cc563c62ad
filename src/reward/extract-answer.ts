/**
 * Which text of an episode counts as its answer.
 *
 * This project scores the policy's own text alone, so that tags in a question, a passage or the prompt never count. Search-R1 scores the
 * whole sequence, prompt included, and has to skip the prompt's own example.
 */
import { checkText } from '../arguments.js';
import { strip } from './normalize.js';

/**
 * The answer of an episode: the text of the last complete `<answer>` in the policy's own text, white space around it removed; null where there is none.
 *
 * Given own text alone, tags in a question, a passage or the prompt never count (ours; `extractAnswerSearchR1` has Search-R1's rule). An empty answer is an
 * answer.
 *
 * @param ownText what the policy wrote, turn after turn, without what the environment put in
 * @throws TypeError for anything but text
 *
 * @example
 * ```ts
 * import { extractAnswer } from 'search-e1/reward';
 *
 * extractAnswer('<think> Paris? Rome? </think><answer> Paris </answer>'); // 'Paris'
 * extractAnswer('<search> capital of France </search>'); // null
 * ```
 */
export function extractAnswer(ownText: string): string | null {
  return answers(ownText).at(-1) ?? null;
}

/**
 * Search-R1's rule (`qa_em.py`), for comparison with its numbers: the last complete `<answer>` of the whole sequence, and null unless there
 * are two, because the prompt holds one example. What follows from it: without the prompt a right answer scores 0, and an answer
 * tag in a retrieved passage counts.
 *
 * @param sequence prompt and episode, retrieved passages included
 * @throws TypeError for anything but text
 *
 * @example
 * ```ts
 * import { extractAnswerSearchR1 } from 'search-e1/reward';
 *
 * extractAnswerSearchR1('For example, <answer> Beijing </answer>. … <answer> Paris </answer>'); // 'Paris'
 * extractAnswerSearchR1('<answer> Paris </answer>'); // null
 * ```
 */
export function extractAnswerSearchR1(sequence: string): string | null {
  const found = answers(sequence);
  return found.length < 2 ? null : found[found.length - 1];
}

function answers(text: string): string[] {
  checkText('extractAnswer', 'the sequence', text);
  return [...text.matchAll(/<answer>([\s\S]*?)<\/answer>/g)].map((match) => strip(match[1]));
}
