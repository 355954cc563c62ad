/** Which layers an adapter adapts, held to what PEFT adapted (fixtures/lora-targets.py). */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { targetedLayers, targetsOf } from '../../src/policy/adapter-targets.js';
import { tinyConfig } from './xs.js';

interface Recorded {
  readonly layers: number;
  readonly cases: readonly {
    readonly config: Parameters<typeof targetedLayers>[0];
    readonly modules?: readonly string[];
    readonly error?: string;
  }[];
}
const recorded = JSON.parse(readFileSync(join(__dirname, 'fixtures/lora-targets.json'), 'utf8')) as Recorded;
const config = { ...tinyConfig, layers: recorded.layers };

test.each(recorded.cases.map((each) => [JSON.stringify(each.config), each] as const))('%s adapts what it does in PEFT', (_, each) => {
  const problems: string[] = [];
  const found = targetedLayers(each.config, config, problems);
  if (each.error) expect(problems).not.toEqual([]);
  else {
    expect(problems).toEqual([]);
    expect([...found].sort()).toEqual([...(each.modules as readonly string[])].sort());
    // What is written for these layers names them and no others.
    expect(targetedLayers({ target_modules: targetsOf(found, config) }, config, problems)).toEqual(found);
  }
});

test('a pattern that takes longer than anyone waits is refused, not waited for', () => {
  const problems: string[] = [];
  expect(targetedLayers({ target_modules: '(([a-z_.0-9]+)+)+!' }, config, problems)).toEqual([]);
  expect(problems[0]).toMatch(/^target_modules .* takes too long over model\.layers\.0\.self_attn\.q_proj: name the modules in a list/);
});
