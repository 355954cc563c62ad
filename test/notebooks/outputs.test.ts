import { expect, it } from 'vitest';
import { outputCollector, STREAM_LIMIT } from '../../src/notebooks/outputs.js';

const message = (type: string, content: object) => ({ header: { msg_id: 'm', msg_type: type }, parent: { msg_id: 'request' }, content: content as Record<string, unknown> }); // biome-ignore format: one line
const collecting = () => {
  const collector = outputCollector();
  collector.expect('request', 0);
  return { ...collector, stream: (name: string, text: string) => collector.receive(message('stream', { name, text })) };
};

it('joins a hundred thousand pieces of a stream into its lines', () => {
  const { stream, outputs } = collecting();
  for (let i = 0; i < 100_000; i++) stream('stdout', i % 2 ? `${i}\n` : `${i} `);
  const [output] = outputs(0);
  expect(outputs(0)).toHaveLength(1);
  expect(output).toMatchObject({ output_type: 'stream', name: 'stdout' });
  expect('text' in output && output.text.slice(0, 2)).toEqual(['0 1\n', '2 3\n']);
  expect('text' in output && output.text).toHaveLength(50_000);
});

it('keeps so much of each stream and says how much it left out', () => {
  const { stream, outputs } = collecting();
  for (let i = 0; i < 5; i++) stream('stdout', 'x'.repeat(STREAM_LIMIT / 2));
  stream('stderr', 'Error: after all that');
  const all = outputs(0);
  expect(all.map((output) => ('name' in output ? output.name : ''))).toEqual(['stdout', 'stderr', 'stdout']);
  expect('text' in all[0] && all[0].text[0]).toHaveLength(STREAM_LIMIT);
  expect('text' in all[1] && all[1].text).toEqual(['Error: after all that']);
  expect('text' in all[2] && all[2].text).toEqual(['\n', `[${1.5 * STREAM_LIMIT} more characters were left out]\n`]);
});
