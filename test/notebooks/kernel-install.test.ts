import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, readFileSync, realpathSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { type CodeCell, joinText } from '../../src/notebooks/notebook.js';
import { runNotebook } from '../../src/notebooks/runner.js';
import { checkout, notebookOf } from './checkout.js';

const install = (root: string, args: string[], env = {}) =>
  execFileSync(process.execPath, [join(root, 'scripts', 'kernel-install.mjs'), ...args], {
    encoding: 'utf8',
    env: { ...process.env, ...env },
  });

function checkoutWithScript(): string {
  const root = checkout();
  for (const path of ['scripts/kernel-install.mjs', 'kernels']) cpSync(path, join(root, path), { recursive: true });
  return root;
}

describe('the installed kernel', () => {
  it('runs a notebook from any folder in the checkout that installed it', async () => {
    const root = checkoutWithScript();
    const elsewhere = mkdtempSync(join(tmpdir(), 'elsewhere-'));
    install(root, ['--prefix', elsewhere]);
    const path = join(elsewhere, 'anywhere.ipynb');
    writeFileSync(
      path,
      JSON.stringify(
        notebookOf([{ kind: 'code', source: "import { greeting } from 'search-e1';\nconsole.log(greeting, process.cwd());" }]),
      ),
    );
    const notebook = await runNotebook(path, { kernelSpec: join(elsewhere, 'share', 'jupyter', 'kernels', 'search-e1') });
    const [output] = (notebook.cells[0] as CodeCell).outputs;
    expect(output.output_type === 'stream' && joinText(output.text)).toBe(`from the package ${realpathSync(elsewhere)}\n`);
  });

  it('lies where Jupyter looks, can be installed twice, and goes away', () => {
    const root = checkoutWithScript();
    const data = mkdtempSync(join(tmpdir(), 'jupyter-data-'));
    const target = join(data, 'kernels', 'search-e1');
    const env = { JUPYTER_DATA_DIR: data };
    for (let time = 0; time < 2; time++) expect(install(root, [], env)).toContain(target);
    expect(JSON.parse(readFileSync(join(target, 'root.json'), 'utf8'))).toEqual({ root });
    expect(JSON.parse(readFileSync(join(target, 'kernel.json'), 'utf8'))).toMatchObject({
      language: 'typescript',
      interrupt_mode: 'signal',
    });
    expect(install(root, ['--uninstall'], env)).toContain('Removed');
    expect(existsSync(target)).toBe(false);
    expect(install(root, ['--uninstall'], env)).toContain('Nothing to remove');
    expect(() => install(root, ['--typo'], env)).toThrow('Unknown option');
  });
});
