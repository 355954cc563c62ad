/**
 * The teacher's view: the standard prompt with the reference attempt shown in it.
 *
 * The paper says that the reference is shown "as an expert reference" and publishes no wording; the words are the protocol's. Shown is what the reference
 * wrote itself: its passages are left out, as the teacher will see the student's own (ours; OPSD shows a solution without tool output likewise).
 */
import { MarkedText } from '../policy/marked-text.js';
import type { Tokenizer } from '../policy/tokenizer.js';
import type { Protocol } from '../rollout/protocol.js';
import type { Trajectory } from '../rollout/trajectory.js';
import { writtenText } from '../rollout/written-text.js';

/** Own text of an attempt, turn after turn. */
export const ownText = ({ tokens, own }: Trajectory, tokenizer: Tokenizer): string => tokenizer.decode(tokens.filter((_, t) => own[t]));

/**
 * The privileged prompt, the teacher's view: the standard prompt with what the reference attempt wrote shown in it, its passages left out.
 *
 * The paper says that the reference is shown "as an expert reference" and publishes no wording; the words are the protocol's. Without a reference it is the
 * standard prompt: the control in which the teacher knows no more than the student. To be encoded with the same tokenizer.
 *
 * @param reference a trajectory of that tokenizer, or null
 * @returns text whose control tokens are marked (`MarkedText`), or the protocol's own words
 *
 * @example
 * ```ts
 * import { CLASSROOM_SEARCH, classroomProtocol, createSearcher, openEngine, privilegedPrompt, rollout, tinypedia } from 'search-e1';
 *
 * const { passages, train } = tinypedia();
 * const environment = { protocol: classroomProtocol, searcher: createSearcher(passages, CLASSROOM_SEARCH) };
 * const engine = await openEngine();
 * const [reference] = await rollout(engine, environment, train.slice(0, 1), { temperature: 0 });
 * const prompt = privilegedPrompt(classroomProtocol, engine.tokenizer, 'who wrote Amber Falcon ?', reference);
 * String(prompt); // '<question> who wrote Amber Falcon ?</question><reference><think>…</answer></reference>'
 * ```
 */
export function privilegedPrompt(
  protocol: Protocol,
  tokenizer: Tokenizer,
  question: string,
  reference: Trajectory | null,
): string | MarkedText {
  return reference ? protocol.privilegedPrompt(question, referenceText(protocol, tokenizer, reference)) : protocol.prompt(question);
}

/**
 * Own text of a reference, in which the protocol's tags are control tokens where they were written as such, and all else is text: other tokens, and tags
 * typed in letters.
 */
function referenceText({ ownTags = [] }: Protocol, tokenizer: Tokenizer, { tokens, own }: Trajectory): MarkedText {
  const { pieces } = writtenText(
    tokenizer,
    tokens.filter((_, t) => own[t]),
  );
  const tags = new RegExp(`(${ownTags.map((tag) => tag.replace(/[^\w]/g, '\\$&')).join('|')})`);
  return new MarkedText(
    pieces.flatMap(({ text, plain }) =>
      plain || ownTags.length === 0 ? [{ text, plain: true }] : text.split(tags).map((part, i) => ({ text: part, plain: i % 2 === 0 })),
    ),
  );
}
