import { afterEach, expect, it, vi } from 'vitest';
import { escapeHtml, show, untilShown } from '../../src/display/bundle.js';

afterEach(() => vi.restoreAllMocks());

it('prints outside of a notebook what cannot steer the terminal', () => {
  const print = vi.spyOn(console, 'log').mockImplementation(() => {});
  show({ 'text/plain': 'a\u001b]0;title\u0007\u009b2J\n\tb\u202e', 'text/html': '<b>' });
  expect(print.mock.calls).toEqual([['a\\x1b]0;title\\x07\\x9b2J\n\tb\\u202e']]);
});

it('escapes what could end an element or a quoted attribute', () => {
  expect(escapeHtml(`<a b="c" d='e'>&`)).toBe('&#60;a b=&#34;c&#34; d=&#39;e&#39;&#62;&#38;');
});

it('leaves what is being drawn where the launcher waits for it, until it is shown or has failed', async () => {
  const pending = () => (globalThis as Record<symbol, Set<unknown>>)[Symbol.for('search-e1.pending-displays')].size;
  let end = () => {};
  const good = untilShown(new Promise<void>((resolve) => (end = resolve)));
  const bad = untilShown(Promise.reject(new Error('not drawn')));
  expect(pending()).toBe(2);
  await expect(bad).rejects.toThrow('not drawn');
  end();
  await good;
  expect(pending()).toBe(0);
});
