/** Who changes an engine's weights waits for those before, and who reads them for all. */
import { expect, test } from 'vitest';
import type { Engine } from '../../src/engines/engine.js';
import { settled, Updates, update } from '../../src/engines/update.js';

const engineWithUpdates = () => ({ updates: new Updates() }) as Engine;
const pause = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds));

test('updates of an engine follow one another, also after one that fails; those of another do not wait', async () => {
  const [engine, other] = [engineWithUpdates(), engineWithUpdates()];
  const order: string[] = [];
  const change = (name: string, milliseconds: number) => async () => {
    order.push(`${name} begins`);
    await pause(milliseconds);
    order.push(`${name} ends`);
    if (name === 'second') throw new Error('it fails');
    return name;
  };
  const done = [
    update(engine, change('first', 20)),
    update(engine, change('second', 1)),
    update(engine, change('third', 1)),
    update(other, change('apart', 1)),
  ];
  const ended = await Promise.allSettled(done);
  expect(ended.map((each) => (each.status === 'fulfilled' ? each.value : `${each.reason}`))).toEqual([
    'first',
    'Error: it fails',
    'third',
    'apart',
  ]);
  expect(order.filter((step) => !step.startsWith('apart'))).toEqual(
    ['first', 'second', 'third'].flatMap((name) => [`${name} begins`, `${name} ends`]),
  );
  expect(order.indexOf('apart ends')).toBeLessThan(order.indexOf('first ends'));
});

test('weights are settled once the last update has ended and its loop has heard of it', async () => {
  const engine = engineWithUpdates();
  const order: string[] = [];
  const loop = (async () => {
    await update(engine, () => pause(5));
    await update(engine, async () => {
      await pause(5);
      throw new Error('stopped');
    }).catch(() => order.push('takes its adapter off'));
  })();
  await settled(engine);
  order.push('the next loop begins');
  await loop;
  expect(order).toEqual(['takes its adapter off', 'the next loop begins']);
  await settled(engineWithUpdates());
});

test.each([
  ['a copy', (engine: Engine) => ({ ...engine })],
  ['a proxy', (engine: Engine) => new Proxy(engine, {})],
  ['what inherits from it', (engine: Engine) => Object.create(engine) as Engine],
])('%s of an engine stands in the same row as the engine itself', async (_, wrap) => {
  const engine = engineWithUpdates();
  const order: string[] = [];
  const first = update(engine, () => pause(10).then(() => order.push('first')));
  const second = update(wrap(engine), async () => order.push('second'));
  await settled(wrap(wrap(engine)));
  expect(order).toEqual(['first', 'second']);
  await Promise.all([first, second]);
});

test('an engine without a row is named as what it is', () => {
  expect(() => settled({} as Engine)).toThrow(/the engine has no `updates`: a wrapper passes on those of the engine in it/);
  expect(() => update({} as Engine, async () => 1)).toThrow(TypeError);
});
