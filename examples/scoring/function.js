/**
 * A serverless function: scores attempts at a question and chooses the pair that Search-E1 distils from. It takes and gives standard `Request` and `Response`, so
 * Cloudflare Workers, Deno Deploy, Vercel and Bun run it as it stands; it loads no tensors and no file.
 *
 * @example
 * curl -d '{"goldenAnswers": ["Paris"], "attempts": [{"answer": "Paris", "searches": 1, "tokens": [4, 8]}, {"answer": "Lyon", "searches": 2, "tokens": [4, 9, 9]}]}' localhost:8787
 */
import { exactMatch, f1 } from 'search-e1/reward';
import { choosePair } from 'search-e1/siblings';

export default {
  async fetch(request) {
    if (request.method !== 'POST')
      return reply(405, { error: 'POST {"goldenAnswers": [text], "attempts": [{"answer", "searches", "tokens"}]}' });
    try {
      const { goldenAnswers, attempts } = await request.json();
      const scored = attempts.map((attempt) => ({
        ...attempt,
        reward: exactMatch(attempt.answer, goldenAnswers),
        f1: f1(attempt.answer, goldenAnswers),
      }));
      // Siblings are compared by the tokens that the policy wrote itself. Here all of them are.
      const trajectories = scored.map((attempt) => ({ ...attempt, own: attempt.tokens.map(() => true) }));
      const pair = choosePair({ trajectories });
      return reply(200, {
        scores: scored.map(({ reward, f1 }) => ({ exactMatch: reward, f1 })),
        ...(typeof pair === 'string'
          ? { noPair: pair }
          : { reference: trajectories.indexOf(pair.reference), student: trajectories.indexOf(pair.student), reason: pair.reason }),
      });
    } catch (error) {
      return reply(400, { error: error.message }); // what is wrong with the request, in words
    }
  },
};

const reply = (status, body) => Response.json(body, { status });
