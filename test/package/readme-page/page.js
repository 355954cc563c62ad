const { searchParams } = new URL(location.href);
const worker = new Worker(new URL('./worker.js', import.meta.url), { type: 'module' });
const line = document.getElementById('line');
const rewards = [];
worker.onmessage = ({ data }) => {
  if (data.report) document.getElementById('backend').textContent = [data.report.description, ...data.report.notes].join('; ');
  if (data.reward !== undefined) rewards.push(data.reward);
  if (data.error) line.textContent = `failed: ${data.error}`;
  if (data.done) line.textContent = `done ${rewards.join(' ')}`;
};
worker.onerror = ({ message }) => {
  line.textContent = `failed: ${message}`;
};
const number = (name) => (searchParams.has(name) ? Number(searchParams.get(name)) : undefined);
worker.postMessage({
  backend: searchParams.get('backend') ?? 'simd',
  threads: number('threads'),
  small: searchParams.has('small'),
  datasets: new URL('datasets', document.baseURI).href,
});
