import {
  CLASSROOM_SEARCH,
  classroomGrpo,
  classroomProtocol,
  createSearcher,
  datasetsAt,
  grpo,
  openEngine,
  rollout,
  startBackend,
  tinypedia,
} from 'search-e1';
import { main } from './example.js'; // README's, written by the test

globalThis.onmessage = async ({ data: { datasets, small, ...backend } }) => {
  try {
    datasetsAt(datasets);
    postMessage({ report: await startBackend(backend) });
    await (small ? smallStep() : main(backend, (_step, reward) => postMessage({ reward })));
    postMessage({ done: true });
  } catch (error) {
    postMessage({ error: error.message });
  }
};

/** For a processor in a graphics card's place: two greedy answers, and a step of GRPO on two questions. */
async function smallStep() {
  const { passages, train } = tinypedia(1);
  const environment = { protocol: classroomProtocol, searcher: createSearcher(passages, CLASSROOM_SEARCH) };
  const engine = await openEngine();
  const answers = await rollout(engine, environment, train.slice(0, 2), { temperature: 0 });
  for (const { answer } of answers) postMessage({ reward: answer });
  const [{ grad_norm }] = await grpo(engine, environment, train, { ...classroomGrpo, steps: 1, questionsPerStep: 2, groupSize: 4 });
  postMessage({ reward: Number.isFinite(grad_norm) });
}
