/** The page: starts the worker that trains, draws what it reports, and stops it. */
const element = (id) => document.getElementById(id);
const query = new URLSearchParams(location.search);
const steps = Number(query.get('steps') ?? 60);
const rewards = [];
let worker;
let began;
let threads; // as many as the browser has processors, unless the address says: ?threads=1

element('start').onclick = () => {
  rewards.length = 0;
  element('start').disabled = true;
  element('stop').disabled = false;
  element('line').textContent = 'Fetching the policy ...';
  threads = query.has('threads') ? Number(query.get('threads')) : undefined;
  worker = new Worker(new URL('./worker.js', import.meta.url), { type: 'module' });
  worker.onmessage = ({ data }) => show[data.kind](data);
  worker.onerror = ({ message }) => show.failed({ message });
  const datasets = new URL('datasets', document.baseURI).href;
  worker.postMessage({ kind: 'train', steps, threads, backend: query.get('backend') ?? 'simd', datasets });
};
element('stop').onclick = () => {
  element('line').textContent += ' Stopping after what is under way ...';
  worker.postMessage({ kind: 'stop' });
};

const show = {
  started({ report }) {
    began = performance.now();
    element('backend').textContent = [report.description, ...report.notes].join('; ');
  },
  grpo({ metrics, total, episode }) {
    rewards.push(metrics['reward/mean']);
    const seconds = (performance.now() - began) / 1000 / rewards.length;
    element('progress').value = rewards.length / total;
    const left = Math.ceil(seconds * (total - rewards.length));
    element('line').textContent =
      `GRPO, step ${metrics.step} of ${total}: exact match ${metrics['reward/mean'].toFixed(2)}, ${seconds.toFixed(2)} s a step, ${left} s left.`;
    element('line').dataset.rewards = rewards.join(' ');
    element('line').dataset.seconds = seconds;
    element('steps').textContent = `step ${rewards.length} of ${total}`;
    const points = rewards.map((reward, i) => `${((i + 0.5) / total) * 100},${100 - reward * 96 - 2}`);
    element('plot').firstElementChild.setAttribute('points', points.join(' '));
    element('episode').textContent = episode; // text, never markup
  },
  rollouts({ stage, finished, total }) {
    if (stage.startsWith('grpo')) return;
    element('progress').value = finished / total;
    element('line').textContent = `Siblings: ${finished} of ${total} attempts.`;
  },
  pairs({ pairs, searchGap }) {
    element('pairs').textContent = `${pairs} pairs of siblings; the students search ${searchGap} times more than their references.`;
  },
  ofsd({ metrics, total }) {
    element('progress').value = metrics.step / total;
    element('line').textContent =
      `Self-distillation, step ${metrics.step} of ${total}: forward KL ${metrics.kl_unclamped.toFixed(4)} nats a token.`;
  },
  ended({ stopped }) {
    finish(stopped ? `Stopped after ${rewards.length} of ${steps} steps of GRPO.` : 'Done.');
  },
  failed({ message }) {
    finish(`Failed: ${message}`);
  },
};

function finish(text) {
  const mean = (part) => (part.reduce((sum, reward) => sum + reward, 0) / part.length).toFixed(2);
  const fifth = Math.ceil(rewards.length / 5);
  const gain =
    rewards.length > 1
      ? ` Exact match of the rollouts: ${mean(rewards.slice(0, fifth))} in the first fifth, ${mean(rewards.slice(-fifth))} in the last.`
      : '';
  element('line').textContent = text + gain;
  element('start').disabled = false;
  element('stop').disabled = true;
  worker.terminate();
}
