import { createRequire } from 'node:module';
import { beforeAll, describe, expect, it } from 'vitest';
import { type MarkdownRenderer, markdownRenderer } from '../../src/notebooks/markdown.js';
import type { Cell, Notebook, Output } from '../../src/notebooks/notebook.js';
import { notebookPage } from '../../src/notebooks/page.js';

const { JSDOM } = createRequire(import.meta.url)('jsdom');

let renderer: MarkdownRenderer;
beforeAll(async () => {
  renderer = await markdownRenderer();
});

const notebook = (cells: readonly object[]): Notebook => ({ cells: cells as Cell[], metadata: {}, nbformat: 4, nbformat_minor: 5 });
const code = (outputs: readonly unknown[], source = '1', count: unknown = 1) => ({ cell_type: 'code', metadata: {}, source, outputs: outputs as Output[], execution_count: count }); // biome-ignore format: one line
const text = (source: string, more = {}) => ({ cell_type: 'markdown', metadata: {}, source, ...more });
const shown = (data: Record<string, unknown>, metadata = {}) => ({ output_type: 'display_data', data, metadata });

/** The page as a browser reads it. */
function page(...cells: object[]) {
  const html = notebookPage(notebook(cells), renderer, { source: 'a.ipynb' });
  return { html, main: new JSDOM(html).window.document.querySelector('main') };
}

/** What could act: anything but text, pictures within the page, and links. */
function acting(main: { querySelectorAll(selector: string): Iterable<{ outerHTML: string }> }): string[] {
  const elements = 'script,style,iframe,object,embed,meta,base,link,form,input,button,template,video,audio,use,animate,set,foreignObject';
  const found = [...main.querySelectorAll(elements)].map(({ outerHTML }) => outerHTML);
  for (const element of main.querySelectorAll('*') as Iterable<{
    outerHTML: string;
    attributes: Iterable<{ name: string; value: string }>;
  }>) {
    for (const { name, value } of element.attributes) {
      if (/^on|^srcdoc$|^name$|action$/.test(name)) found.push(element.outerHTML);
      if (/^(href|src|xlink:href)$/.test(name) && /^\W*(javascript|vbscript|file|data:(?!image\/))/i.test(value))
        found.push(element.outerHTML);
      if (name === 'style' && /fixed|absolute|url\(/i.test(value)) found.push(element.outerHTML);
    }
  }
  return found;
}

/** Ways to act, from the OWASP list of filter evasions and from nbviewer's and JupyterLab's advisories. */
const HOSTILE = [
  '<script>alert(1)</script>',
  '<img src=x onerror=alert(1)>',
  '<img src="x" onerror="alert(1)" name="querySelectorAll">',
  '<a href="javascript:alert(1)">a</a>',
  '<a href=" java\tscript:alert(1)">a</a>',
  '<a href="&#x6A;avascript:alert(1)">a</a>',
  '<a href="data:text/html,<script>alert(1)</script>">a</a>',
  '<iframe srcdoc="<script>alert(1)</script>"></iframe>',
  '<meta http-equiv="refresh" content="0;url=https://example.org">',
  '<base href="https://example.org/">',
  '<form action="https://example.org"><button name="body">Go</button></form>',
  '<svg><script>alert(1)</script><a xlink:href="javascript:alert(1)"><text>a</text></a></svg>',
  '<svg><animate attributeName="href" to="javascript:alert(1)"/><set attributeName="onclick" to="alert(1)"/><use href="data:image/svg+xml,a#b"/></svg>',
  '<svg><foreignObject><iframe src="javascript:alert(1)"></iframe></foreignObject></svg>',
  '<math><mtext><table><mglyph><style><img src=x onerror=alert(1)></style></mglyph></table></mtext></math>',
  '<div style="position:fixed;inset:0;background:url(https://example.org/x)">over all</div>',
  '<style>body{display:none}</style><link rel="stylesheet" href="https://example.org/x.css">',
  '<details open ontoggle=alert(1)><summary>s</summary></details>',
  '<template><script>alert(1)</script></template><object data="javascript:alert(1)"></object><embed src="javascript:alert(1)">',
];

describe('a page of anybody’s notebook', () => {
  it.each(HOSTILE)('lets nothing act of %s', (html) => {
    const { main } = page(
      code([shown({ 'text/html': html })]),
      text(`A paragraph.\n\n${html}\n\nand ${html} within.`),
      code([shown({ 'text/markdown': html })]),
    );
    expect(acting(main)).toEqual([]);
    expect(main.textContent).toContain('A paragraph.');
  });

  it('keeps what tables, trajectories, pictures, mathematics and links are made of', () => {
    const kept =
      '<table style="text-align:right"><caption>c</caption><tbody><tr><td colspan="2" title="t">x</td></tr></tbody></table><details><summary>s</summary><progress value="1" max="2"></progress></details>';
    const { main } = page(
      code([shown({ 'text/html': kept })]),
      text(
        '[a](https://example.org/x?a=1&b=2) [b](02-other.html#more) [c](#here) ![p](data:image/png;base64,AAAA) $\\bar r_{1}$\n\n$$\\sqrt{\\frac{a}{b}}$$',
      ),
    );
    expect(main.querySelector('.html').innerHTML).toBe(kept);
    expect([...main.querySelectorAll('a')].map((a: { getAttribute(name: string): string }) => a.getAttribute('href'))).toEqual([
      'https://example.org/x?a=1&b=2',
      '02-other.html#more',
      '#here',
    ]);
    expect(main.querySelector('img').getAttribute('src')).toBe('data:image/png;base64,AAAA');
    expect(main.querySelectorAll('.katex math').length).toBe(2);
    expect(main.querySelector('.katex svg path')).not.toBeNull();
    expect(main.querySelector('.katex [style*="height"]')).not.toBeNull();
  });

  it.each(['image/png', 'image/jpeg', 'image/gif', 'image/webp'])('takes for %s only what is base64', (type) => {
    const { main, html } = page(
      code([shown({ [type]: '"><script>alert(1)</script>', 'text/plain': 'x' })]),
      code([shown({ [type]: 'QUJD\nRA==\n' }, { [type]: { width: '9" onload="alert(1)' } })]),
    );
    expect(html).not.toContain('<script>alert');
    expect(acting(main)).toEqual([]);
    expect([...main.querySelectorAll('img')].map((img: { outerHTML: string }) => img.outerHTML)).toEqual([
      `<img class="picture" src="data:${type};base64,QUJDRA==" alt="picture">`,
    ]);
  });

  it('shows a drawing as a picture, in which no script runs, and attachments only where they are pictures', () => {
    const svg = '<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>';
    const attachments = {
      'a.png': { 'image/png': 'QUJD' },
      'b.html': { 'text/html': '<script>alert(1)</script>' },
      'c.png': { 'image/png': '" onerror="x' },
      '100%.png': { 'image/png': 'QUJD' },
    };
    const { main, html } = page(
      code([shown({ 'image/svg+xml': svg })]),
      text('![a](attachment:a.png) ![b](attachment:b.html) ![c](attachment:c.png) [d](attachment:b.html) ![e](attachment:100%.png)', {
        attachments,
      }),
    );
    expect(html.match(/<script/g)).toHaveLength(1);
    expect(acting(main)).toEqual([]);
    expect(main.querySelectorAll('img[src="data:image/png;base64,QUJD"]').length).toBe(2);
  });

  it('escapes every other thing a notebook says', () => {
    const evil = '"><script>alert(1)</script>';
    const { html, main } = page(
      text(`# ${evil}`),
      text(`## ${evil}\n\n## b\n\n## c`),
      code([{ output_type: 'stream', name: `x${evil}`, text: evil }], evil, evil),
      code([
        { output_type: 'error', ename: evil, evalue: evil, traceback: [evil] },
        { output_type: 'error', ename: evil, evalue: evil, traceback: [] },
      ]),
      code([shown({ 'text/plain': evil }), shown({ 'application/json': { evil } }), shown({ 'text/html': { evil } as never })]),
      { cell_type: 'raw', metadata: {}, source: evil },
    );
    expect(html.match(/<script/g)).toHaveLength(1);
    expect(acting(main)).toEqual([]);
  });

  it('shows of terminal output the text: no colours, titles or links, and control characters made visible', () => {
    const stream =
      'a\u001b[31mred\u001b[0m \u001b[?25l\u001b]0;title\u0007b \u001b]8;;https://x\u001b\\link\u001b]8;;\u001b\\ \u009b1mc\n10%\r20%\rdone\r\nx\u0000\u0008\u202ey\n';
    const { main } = page(code([{ output_type: 'stream', name: 'stdout', text: stream }], 'const a = "\u202e";'));
    expect(main.querySelector('pre.stdout').textContent).toBe('ared b link c\ndone\nx\\x00\\x08\\u202ey\n');
    expect(main.querySelector('pre.code').textContent).toBe('const a = "\\u202e";');
  });

  it('bounds what one output fills a page with', () => {
    const { html, main } = page(code([{ output_type: 'stream', name: 'stdout', text: 'x'.repeat(1_000_000) }]));
    expect(html.length).toBeLessThan(300_000);
    expect(main.querySelector('pre.stdout').textContent).toContain('[800000 more characters: see the notebook]');
  });

  it('may send and load nothing, whatever slips through', () => {
    expect(page().html).toMatch(/content="default-src 'none'; img-src data:; [^"]*base-uri 'none'; form-action 'none'"/);
  });
});
