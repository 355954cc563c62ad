import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import type { ModelFit } from '../../src/display/machine.js';
import type { Inspection } from '../../src/tensors/inspect.js';
import { json, searchE1 } from './captured.js';

const folder = mkdtempSync(join(tmpdir(), 'doctor-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('search-e1 doctor', () => {
  it('prints a line for every backend, which one is taken, and what fits', async () => {
    const { code, stdout } = await searchE1(['doctor']);
    expect(code).toBe(0);
    for (const name of ['tensorflow', 'webgpu', 'simd', 'cpu']) expect(stdout).toMatch(new RegExp(`^${name} +(cpu|gpu|software|–) `, 'm'));
    expect(stdout).toMatch(/^taken: \w+, /m);
    expect(stdout).toMatch(/^Qwen2\.5-0\.5B +494 million +simd +yes/m);
  });

  it('says the same as JSON, about a model of one\u2019s own', async () => {
    const { backends, chosen, fits } = await json<Inspection & { fits: ModelFit[] }>([
      'doctor',
      '--model',
      join(__dirname, '../fixtures/xs_tied'),
    ]);
    expect(backends).toHaveLength(4);
    expect(backends.find(({ name }) => name === chosen)?.speed?.gigaflops).toBeGreaterThan(0);
    expect(fits.length).toBeGreaterThan(0);
    expect(fits.every(({ writing, whole }) => writing && whole)).toBe(true);
  });

  it('refuses a configuration that it cannot read, naming the option', async () => {
    writeFileSync(join(folder, 'config.json'), '{"model_type": "llama"}');
    const { code, stderr } = await searchE1(['doctor', '--model', folder]);
    expect(code).toBe(2);
    expect(stderr).toMatch(/--model: .*config\.json is not the configuration of a Qwen2 model/);
    expect((await searchE1(['doctor', '--model', join(folder, 'none')])).stderr).toMatch(/--model: .*no such file/i);
  });
});
