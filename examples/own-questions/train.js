/**
 * GRPO on your own questions over your own passages: `npm start -- [steps]`. Ctrl-C stops after the step under way and saves.
 *
 * The policy is the classroom's, which knows few words; a Qwen2.5 folder in its place wants a graphics card, `searchR1Protocol` and a LoRA adapter.
 */
import { classroomGrpo, classroomProtocol, createSearcher, grpo, loadCorpus, loadQuestions, openEngine, rollout } from 'search-e1';

const steps = Number(process.argv[2] ?? 20);
const here = (name) => new URL(name, import.meta.url).pathname;
const questions = await loadQuestions(here('questions.jsonl'), 'own');
const searcher = createSearcher(await loadCorpus(here('passages.jsonl')));
const environment = { protocol: classroomProtocol, searcher };
const policy = await openEngine();

const exactMatch = async () => {
  const episodes = await rollout(policy, environment, questions, { temperature: 0 });
  return episodes.reduce((sum, { reward }) => sum + reward, 0) / episodes.length;
};
const before = await exactMatch();
const stop = new AbortController();
process.once('SIGINT', () => stop.abort());
const settings = { ...classroomGrpo, steps, questionsPerStep: questions.length };
const started = performance.now();
await grpo(policy, environment, questions, settings, {
  signal: stop.signal,
  onStep({ step, 'reward/mean': reward }) {
    const left = ((performance.now() - started) / 1000 / step) * (steps - step);
    console.log(`step ${step} of ${steps}: exact match ${reward.toFixed(2)} of its attempts, ${left.toFixed(0)} s left`);
  },
}).catch((error) => {
  if (!stop.signal.aborted) throw error;
});
console.log(`exact match, greedy: ${before.toFixed(2)} before, ${(await exactMatch()).toFixed(2)} after`);
await policy.save(here('trained'));
console.log('saved in trained/, a Hugging Face folder: try `npx search-e1 ask --policy trained "who is the spouse of Karl Berg ?"`');
