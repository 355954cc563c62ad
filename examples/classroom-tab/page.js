/** The page: starts the worker that trains, draws what it reports, and stops it. */
const element = (id) => document.getElementById(id);
const steps = Number(new URLSearchParams(location.search).get('steps') ?? 60);
const backend = new URLSearchParams(location.search).get('backend') ?? 'simd';
const rewards = [];
let worker;
let began;

element('start').onclick = () => {
  rewards.length = 0;
  element('start').disabled = true;
  element('stop').disabled = false;
  element('line').textContent = 'Fetching the policy ...';
  worker = new Worker(new URL('./worker.js', import.meta.url), { type: 'module' });
  worker.onmessage = ({ data }) => show[data.kind](data);
  worker.onerror = ({ message }) => show.failed({ message });
  worker.postMessage({ kind: 'train', steps, backend, datasets: new URL('datasets', document.baseURI).href });
};
element('stop').onclick = () => worker.postMessage({ kind: 'stop' });

const show = {
  started({ report }) {
    began = performance.now();
    element('backend').textContent = [report.description, ...report.notes].join('; ');
  },
  step({ metrics, episode }) {
    rewards.push(metrics['reward/mean']);
    const seconds = (performance.now() - began) / 1000;
    const left = Math.ceil((seconds / rewards.length) * (steps - rewards.length));
    element('progress').value = rewards.length / steps;
    element('line').textContent =
      `step ${metrics.step} of ${steps}: exact match ${metrics['reward/mean'].toFixed(2)}, ${(seconds / rewards.length).toFixed(2)} s a step, ${left} s left`;
    element('steps').textContent = `step ${rewards.length} of ${steps}`;
    const points = rewards.map((reward, i) => `${((i + 0.5) / steps) * 100},${100 - reward * 96 - 2}`);
    element('plot').firstElementChild.setAttribute('points', points.join(' '));
    element('episode').textContent = episode; // text, never markup
  },
  ended({ stopped }) {
    finish(stopped ? `stopped after ${rewards.length} of ${steps} steps` : `done: ${rewards.length} steps`);
  },
  failed({ message }) {
    finish(`failed: ${message}`);
  },
};

function finish(text) {
  const mean = (part) => (part.reduce((sum, reward) => sum + reward, 0) / part.length).toFixed(2);
  const fifth = Math.ceil(rewards.length / 5);
  element('line').textContent =
    rewards.length > 1
      ? `${text}; exact match ${mean(rewards.slice(0, fifth))} in the first fifth, ${mean(rewards.slice(-fifth))} in the last`
      : text;
  element('start').disabled = false;
  element('stop').disabled = true;
  worker.terminate();
}
