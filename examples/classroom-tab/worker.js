/** The worker: one round of Search-E1 in the classroom (GRPO, siblings, self-distillation), on the tensors of this browser. */
import {
  CLASSROOM_SEARCH,
  classroomEvolution,
  classroomProtocol,
  createSearcher,
  datasetsAt,
  evolve,
  openEngine,
  startBackend,
  tinypedia,
} from 'search-e1';

const stop = new AbortController();

globalThis.onmessage = async ({ data }) => {
  if (data.kind === 'stop') return stop.abort();
  try {
    datasetsAt(data.datasets);
    const report = await startBackend({ backend: data.backend, threads: data.threads });
    const engine = await openEngine();
    const world = tinypedia(1);
    const environment = { protocol: classroomProtocol, searcher: createSearcher(world.passages, CLASSROOM_SEARCH) };
    const settings = {
      ...classroomEvolution,
      rounds: 1,
      grpo: { ...classroomEvolution.grpo, steps: data.steps },
      siblings: { questions: 20, attempts: 8, prefer: 'wrong' },
      gate: null, // distil whatever the pairs say
    };
    postMessage({ kind: 'started', report });
    await evolve(engine, environment, world.train, settings, {
      signal: stop.signal,
      onEvent(event) {
        if (event.kind === 'grpo') {
          const [{ question, trajectories }] = event.groups;
          const [{ tokens, reward }] = trajectories;
          const episode = `${question.question}\n${engine.tokenizer.decode(tokens)}\n\nreward ${reward}`;
          postMessage({ kind: 'grpo', metrics: event.metrics, total: event.total, episode });
        } else if (event.kind === 'rollouts')
          postMessage({ kind: 'rollouts', stage: event.stage, finished: event.finished, total: event.total });
        else if (event.kind === 'pairs')
          postMessage({ kind: 'pairs', pairs: event.pairing.pairs.length, searchGap: event.pairing.searchGap });
        else if (event.kind === 'ofsd') postMessage({ kind: 'ofsd', metrics: event.metrics, total: event.total });
      },
    });
    postMessage({ kind: 'ended', stopped: stop.signal.aborted });
  } catch (error) {
    postMessage(stop.signal.aborted ? { kind: 'ended', stopped: true } : { kind: 'failed', message: error.message });
  }
};
