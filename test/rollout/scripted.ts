/** Policies that write what a test tells them, in the real environment. */
import type { Engine } from '../../src/engines/engine.js';
import type { SampledSequence } from '../../src/policy/generate.js';
import { loadTokenizer } from '../../src/policy/tokenizer.js';
import { classroomProtocol, type Protocol } from '../../src/rollout/protocol.js';
import type { Environment } from '../../src/rollout/rollout.js';
import type { ScoredPassage } from '../../src/search/passage.js';

export const tokenizer = loadTokenizer('datasets/tinypedia/tokenizer');

/**
 * An engine that writes each script, token by token, in place of sampling. Token k of a script gets the log-probability -(k + 1) / 100.
 * A script that the environment ends early is left unread; one that is used up before that is a mistake of the test.
 */
export function scriptedEngine(scripts: readonly (string | readonly number[])[]): Engine {
  const unused = () => {
    throw new Error('a scripted engine only samples');
  };
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
            const reply = await onToken(index, ids[k]);
            if (reply === 'end') return sequence;
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
}

/** An environment that finds the given text for every query, and keeps the queries. */
export function shelf(text: string, protocol: Partial<Protocol> = {}): Environment & { readonly queries: string[] } {
  const queries: string[] = [];
  return {
    queries,
    protocol: { ...classroomProtocol, ...protocol },
    searcher: {
      async search(asked, topK) {
        queries.push(...asked);
        const passages: ScoredPassage[] = text ? [{ id: '1', title: 'Amber Falcon', text, score: 1 }] : [];
        return asked.map(() => passages.slice(0, topK));
      },
    },
  };
}
