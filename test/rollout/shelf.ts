/** A world of one passage: an environment that finds it whatever is asked, and some questions. */
import { classroomProtocol, type Protocol } from '../../src/rollout/protocol.js';
import type { Question } from '../../src/rollout/question.js';
import type { Environment } from '../../src/rollout/rollout.js';
import type { ScoredPassage } from '../../src/search/passage.js';

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

export const tinyEnvironment: Environment = shelf('a book . author Ada .', { maxTurnTokens: 8, maxTurns: 2 });

export const tinyQuestions: readonly Question[] = ['Amber', 'Red', 'Mill', 'Stone', 'Falcon', 'Lind'].map((name, i) => ({
  id: `q${i}`,
  dataset: 'nq-mini',
  question: `who is ${name} ?`,
  goldenAnswers: [i % 3 === 2 ? 'Eva' : 'Ada'],
}));
