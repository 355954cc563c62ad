/**
 * Search-R1's own words and rules (PeterGriffinJin/Search-R1, v0.2, `search_r1/llm_agent/generation.py` and `qa_em.py`): what its checkpoints were trained on.
 *
 * Reproduced to the character: the prompt, the cut of a response, which tag acts, the passages' block, the feedback after an invalid action, the
 * lengths, and the scorer. Its traps are kept, for they are in its numbers:
 *
 * - A response is cut at its first `</search>`, and at `</answer>` only where there is none; the first pair of tags in what is left acts.
 * - A search may be empty. The closing turn's search is not carried out.
 * - Its scorer reads the whole sequence, prompt and passages included, and wants two answers, as the prompt holds an example. An episode without an answer
 *   is therefore scored on the prompt's "Beijing", or on the "and" of the feedback, and an answer tag in a passage counts. That is `searchR1Score`, for comparison with
 *   its numbers; the reward, as under every protocol, is that of the policy's own answer.
 * - Sampling is cut to the likeliest 95 % in training.
 *
 * A turn is written to its first `</search>`, to an end-of-sequence token, or for 500 tokens: `</answer>` does not end it, as a `</search>` further on
 * decides where it is cut. Of its text, special tokens left out, what the cut leaves is tokenised again: the policy never sees what came behind it, nor an
 * end token. A turn begins with the last 4,096 tokens, which are then read from position 0. What is kept, and scored and trained on, is the prompt's last
 * 2,048 and 4,096 after it, at the end of the turn that fills these: what Search-R1 writes after that it drops. Log-probabilities of tokens that were not
 * sampled so are read off the whole sequence, as it does for all.
 *
 * What differs: there an over-long prompt is an error, the padding token is dropped from a prompt once something follows it, and text of a control token such
 * as `<|im_end|>` becomes that token wherever it stands: here only in the chat template's own words, not in a question, a passage or a turn.
 */
import type { RenderChat } from '../policy/chat-template.js';
import { joined, type MarkedText, marked } from '../policy/marked-text.js';
import { renderMarked } from '../policy/render-marked.js';
import { extractAnswer, extractAnswerSearchR1 } from '../reward/extract-answer.js';
import { strip } from '../reward/normalize.js';
import type { Passage } from '../search/passage.js';
import { type Action, enclosed, type Protocol } from './protocol.js';

/** The one user message, with the question in its place (`make_prefix`, template "base"). */
export const searchR1Instruction = (question: string): string => String(instruction(asked(question)));

/** The question as it is put: stripped, with a question mark at its end. */
function asked(question: string): string {
  const stripped = strip(question);
  return stripped.endsWith('?') ? stripped : `${stripped}?`;
}

const instruction = (question: string | MarkedText): MarkedText => joined([INSTRUCTION, marked` Question: ${question}\n`]);

const INSTRUCTION =
  'Answer the given question. ' +
  'You must conduct reasoning inside <think> and </think> first every time you get new information. ' +
  'After reasoning, if you find you lack some knowledge, you can call a search engine by <search> query </search> and it will return the top searched results between <information> and </information>. ' +
  'You can search as many times as your want. ' +
  'If you find no further external knowledge needed, you can directly provide the answer inside <answer> and </answer>, without detailed illustrations. For example, <answer> Beijing </answer>.';

/** A response up to where Search-R1 cuts it. */
export function cutResponse(text: string): string {
  for (const tag of ['</search>', '</answer>']) {
    const at = text.indexOf(tag);
    if (at >= 0) return text.slice(0, at + tag.length);
  }
  return text;
}

/**
 * What a response asks for: the first pair of tags in what the cut leaves. Nothing between the tags is still an action; of several answers the last is
 * scored.
 */
export function searchR1Action(text: string): Action {
  const cut = cutResponse(text);
  const match = /<(search|answer)>([\s\S]*?)<\/\1>/.exec(cut);
  if (!match) return { kind: 'invalid', reason: 'no search and no answer' };
  return match[1] === 'search'
    ? { kind: 'search', content: strip(match[2]) }
    : { kind: 'answer', content: extractAnswer(cut) ?? strip(match[2]) };
}

/** The passages' block; titles stand in the quotes that Search-R1's corpus has around them. */
export function searchR1Observation(passages: readonly Passage[]): string {
  return String(observation(passages));
}

function observation(passages: readonly Passage[]): MarkedText {
  const documents = passages.map(({ title, text }, i) => `Doc ${i + 1}(Title: "${title}") ${text}\n`).join('');
  return marked`\n\n<information>${strip(documents)}</information>\n\n`;
}

const INVALID =
  '\nMy previous action is invalid. If I want to search, I should put the query between <search> and </search>. ' +
  'If I want to give the final answer, I should put the answer between <answer> and </answer>. Let me try again.\n';

/**
 * Search-R1's own protocol (v0.2), to the character: its prompt, the cut of a response, the passages' block, the feedback, the lengths and the scorer, for
 * policies that were trained on it.
 *
 * 4 searches and a closing turn, 3 passages a search, 500 tokens a turn and an observation, prompts of 2,048 and episodes of 4,096 tokens, sampling from the
 * likeliest 95 %. Trajectories also bear `searchR1Score`, the score as that project counts. The words of the privileged prompt and of a failed search are
 * ours.
 *
 * @param renderChat the tokenizer's chat template, around the one user message; without one the message itself is the prompt, as in Search-R1
 *
 * @example
 * ```ts
 * import { searchR1Protocol } from 'search-e1/rollout';
 *
 * const protocol = searchR1Protocol();
 * String(protocol.prompt('who wrote Amber Falcon')); // 'Answer the given question. … Question: who wrote Amber Falcon?…'
 * protocol.parseAction('<search> Amber Falcon </search>'); // { kind: 'search', content: 'Amber Falcon' }
 * [protocol.maxTurns, protocol.passagesPerSearch, protocol.maxTokens]; // [ 4, 3, 4096 ]
 * ```
 */
export function searchR1Protocol(renderChat?: RenderChat): Protocol {
  const chat = (content: MarkedText) => (renderChat ? renderMarked(renderChat, [{ role: 'user', content }]) : content);
  return {
    name: 'search-r1',
    maxTurns: 4,
    passagesPerSearch: 3,
    maxTurnTokens: 500,
    maxObservationTokens: 500,
    maxPromptTokens: 2048,
    maxContextTokens: 4096,
    maxTokens: 4096,
    topP: 0.95,
    prompt: (question) => chat(instruction(asked(question))),
    // The wording is ours: neither Search-R1 nor Search-E1 publishes one.
    privilegedPrompt: (question, reference) =>
      chat(
        marked`${instruction(enclosed(asked(question)))}\nHere is how an expert answered it. Learn from it, then answer in your own words.\n<reference>${enclosed(reference)}</reference>\n`,
      ),
    observation,
    // Ours too: there a search that fails ends the run.
    failedSearch: '\n\n<information>The search failed, no passages were retrieved.</information>\n\n',
    invalidFeedback: INVALID,
    parseAction: searchR1Action,
    endsTurn: (text) => text.includes('</search>'),
    keptText: cutResponse,
    searchR1Answer: (prompt, episode) => extractAnswerSearchR1(prompt + episode),
  };
}
