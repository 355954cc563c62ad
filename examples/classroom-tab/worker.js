/** The worker: Search-E1's first stage, GRPO in the classroom, on the tensors of this browser. */
import {
  CLASSROOM_SEARCH,
  classroomGrpo,
  classroomProtocol,
  createSearcher,
  datasetsAt,
  grpo,
  openEngine,
  startBackend,
  tinypedia,
} from 'search-e1';

const stop = new AbortController();

globalThis.onmessage = async ({ data }) => {
  if (data.kind === 'stop') return stop.abort();
  try {
    datasetsAt(data.datasets);
    const report = await startBackend({ backend: data.backend });
    const engine = await openEngine();
    const world = tinypedia(1);
    const environment = { protocol: classroomProtocol, searcher: createSearcher(world.passages, CLASSROOM_SEARCH) };
    postMessage({ kind: 'started', report });
    await grpo(
      engine,
      environment,
      world.train,
      { ...classroomGrpo, steps: data.steps },
      {
        signal: stop.signal,
        onStep: (metrics, [{ question, trajectories }]) => {
          const [{ tokens, reward }] = trajectories;
          postMessage({ kind: 'step', metrics, episode: `${question.question}\n${engine.tokenizer.decode(tokens)}\n\nreward ${reward}` });
        },
      },
    );
    postMessage({ kind: 'ended', stopped: stop.signal.aborted });
  } catch (error) {
    postMessage(stop.signal.aborted ? { kind: 'ended', stopped: true } : { kind: 'failed', message: error.message });
  }
};
