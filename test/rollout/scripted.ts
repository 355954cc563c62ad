/** Policies that write what a test tells them, in the real environment. */
import type { Engine } from '../../src/engines/engine.js';
import { Updates } from '../../src/engines/update.js';
import type { Reply, SampledSequence } from '../../src/policy/generate.js';
import { loadTokenizer } from '../../src/policy/tokenizer.js';

export { shelf } from './shelf.js';

export const tokenizer = await loadTokenizer('datasets/tinypedia/tokenizer');

/**
 * An engine that writes each script, token by token, in place of sampling. Token k of a script gets the log-probability -(k + 1) / 100.
 * A script that the environment ends early is left unread; one that is used up before that is a mistake of the test.
 */
export function scriptedEngine(scripts: readonly (string | readonly number[])[]): Engine {
  return {
    tokenizer,
    async sample(prompts, { onToken, maxTokens }) {
      return Promise.all(
        prompts.map(async (_, index): Promise<SampledSequence> => {
          const script = scripts[index];
          const ids = typeof script === 'string' ? tokenizer.encode(script) : script;
          const sequence = { tokens: [] as number[], own: [] as boolean[], logProbs: [] as number[], truncated: false };
          for (let k = 0; ; k++) {
            if (k >= ids.length)
              throw new Error(`script ${index} is used up and the episode goes on after: ${tokenizer.decode(sequence.tokens)}`);
            sequence.tokens.push(ids[k]);
            sequence.own.push(true);
            sequence.logProbs.push(-(k + 1) / 100);
            const reply = (await onToken?.(index, ids[k])) ?? 'continue';
            if (reply === 'end') return sequence;
            if (typeof reply === 'object' && 'takeBack' in reply) throw new Error('this engine does not rewrite: see rewritingEngine');
            for (const forced of reply === 'continue' ? [] : reply) {
              sequence.tokens.push(forced);
              sequence.own.push(false);
              sequence.logProbs.push(0);
            }
            if (sequence.tokens.length >= maxTokens) {
              for (const list of [sequence.tokens, sequence.own, sequence.logProbs]) list.length = maxTokens;
              return { ...sequence, truncated: true };
            }
          }
        }),
      );
    },
    ...unscripted,
    updates: new Updates(),
  };
}

/**
 * An engine for protocols that rewrite what was sampled: one sequence, a script a turn, of which the rest is left unread once the environment rewrites.
 *
 * @param contexts takes what is read before each turn
 */
export function rewritingEngine(turns: readonly (readonly number[])[], contexts: (readonly number[])[] = []): Engine {
  return {
    tokenizer,
    async sample([prompt], { onToken }): Promise<SampledSequence[]> {
      const known = [...prompt];
      const own: boolean[] = [];
      let forgotten = 0;
      for (const script of turns) {
        contexts.push(known.slice(forgotten));
        let reply: Reply = 'continue';
        for (const token of script) {
          known.push(token);
          own.push(true);
          reply = (await onToken?.(0, token)) ?? 'continue';
          if (reply !== 'continue') break;
        }
        if (typeof reply !== 'object' || !('takeBack' in reply))
          throw new Error(`expected a turn to be rewritten, got ${JSON.stringify(reply)}`);
        known.length -= reply.takeBack;
        own.length -= reply.takeBack;
        known.push(...reply.own, ...reply.shown);
        own.push(...reply.own.map(() => true), ...reply.shown.map(() => false));
        forgotten = Math.max(forgotten, known.length - (reply.readLast ?? Number.POSITIVE_INFINITY));
        if (reply.end)
          return [{ tokens: known.slice(prompt.length), own, logProbs: own.map((each) => (each ? -0.01 : 0)), truncated: false }];
      }
      throw new Error(`${turns.length} turns are used up and the episode goes on`);
    },
    ...unscripted,
    updates: new Updates(),
  };
}

const unused = () => {
  throw new Error('a scripted engine only samples');
};

const unscripted = {
  forward: unused,
  compare: unused,
  forwardBackward: unused,
  optimStep: unused,
  resetOptimizer: unused,
  snapshot: unused,
  addAdapter: unused,
  mergeAdapter: unused,
  dropAdapter: unused,
  save: unused,
  load: unused,
  dispose: unused,
};
