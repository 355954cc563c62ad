/**
 * The teacher's view: the standard prompt with the reference attempt shown in it.
 *
 * The paper says that the reference is shown "as an expert reference" and publishes no wording; the words are the protocol's. Shown is what the reference
 * wrote itself: its passages are left out, as the teacher will see the student's own (ours; OPSD shows a solution without tool output likewise).
 */
import type { Tokenizer } from '../policy/tokenizer.js';
import type { Protocol } from '../rollout/protocol.js';
import type { Trajectory } from '../rollout/trajectory.js';

/** Own text of an attempt, turn after turn. */
export const ownText = ({ tokens, own }: Trajectory, tokenizer: Tokenizer): string => tokenizer.decode(tokens.filter((_, t) => own[t]));

/** The privileged prompt's text. Without a reference it is the standard prompt: the control in which the teacher knows no more than the student. */
export function privilegedPrompt(protocol: Protocol, tokenizer: Tokenizer, question: string, reference: Trajectory | null): string {
  return reference ? protocol.privilegedPrompt(question, ownText(reference, tokenizer)) : protocol.prompt(question);
}
