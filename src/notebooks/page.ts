/**
 * An executed notebook as one HTML page that needs nothing else: styles and pictures inside, no network, light or dark, fit for print.
 *
 * A notebook may be anybody's: its text is escaped, its HTML cleaned (harmless-html.ts), its pictures are pictures or are not shown. Should something slip
 * through all the same, the page's content security policy lets no script run but its own switch of colours, and sends nothing anywhere.
 */
import { createHash } from 'node:crypto';
import { escapeHtml } from '../display/bundle.js';
import { printable } from '../display/printable.js';
import type { Heading, MarkdownRenderer } from './markdown.js';
import { type CodeCell, joinText, type MimeBundle, type Notebook, notebookTitle, type Output } from './notebook.js';
import { STYLE } from './style.js';

export interface PageLink {
  readonly title: string;
  readonly href: string;
}

export interface PageOptions {
  /** What the page is called where the notebook has no heading. */
  readonly title?: string;
  /** Address of the notebook itself, beside the page; undefined where there is none. */
  readonly source?: string;
  readonly index?: string;
  readonly previous?: PageLink;
  readonly next?: PageLink;
  /** Shown on top: why the run of this notebook failed. */
  readonly failure?: string;
  /** Rewrites the address of a link or a picture in Markdown. */
  readonly address?: (address: string, kind: 'link' | 'picture') => string;
}

/** The whole page. */
export function notebookPage(notebook: Notebook, renderer: MarkdownRenderer, options: PageOptions): string {
  const headings: Heading[] = [];
  const cells = notebook.cells.map((cell) => {
    if (cell.cell_type === 'code') return codeCell(cell, renderer);
    if (cell.cell_type === 'raw') return `<pre>${escapeHtml(joinText(cell.source))}</pre>`;
    const address = (given: string, kind: 'link' | 'picture') => {
      if (!given.startsWith('attachment:')) return options.address?.(given, kind) ?? given;
      const attached = Object.entries(cell.attachments?.[given.slice(11)] ?? cell.attachments?.[decoded(given.slice(11))] ?? {});
      return attached.map(([type, data]) => pictureAddress(type, textOf(data))).find(Boolean) ?? '#';
    };
    return `<section class="text">${renderer.html(joinText(cell.source), { headings, address })}</section>`;
  });
  const contents = headings
    .filter(({ level }) => level === 2 || level === 3)
    .map(({ level, text, id }) => `<li class="level-${level}"><a href="#${id}">${escapeHtml(text)}</a></li>`);
  const title = notebookTitle(notebook) ?? options.title ?? 'Notebook';
  const bar = navigation(options);
  return htmlPage(
    title,
    `${bar}
${contents.length > 2 ? `<nav class="contents"><details><summary>On this page</summary><ul>${contents.join('')}</ul></details></nav>` : ''}
<main>
${options.failure ? `<pre class="failure">This notebook's run failed.\n${escapeHtml(printable(options.failure))}</pre>` : ''}
${cells.join('\n')}
</main>
${bar}`,
    renderer.mathStyle(cells.join('')),
  );
}

/** A page of the book around any content: head, styles, the switch of colours. */
export function htmlPage(title: string, content: string, style = ''): string {
  const policy = `default-src 'none'; img-src data:; font-src data:; style-src 'unsafe-inline'; script-src 'sha256-${createHash('sha256').update(SWITCH).digest('base64')}'; base-uri 'none'; form-action 'none'`;
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>${escapeHtml(title)} · search-e1</title>
<style>${style}${STYLE}</style>
</head>
<body>
${content}
<script>${SWITCH}</script>
</body>
</html>
`;
}

/** Reader's choice of colours, kept where the browser keeps anything for local files. */
const SWITCH = `(() => {
  const root = document.documentElement;
  const keep = (value) => { try { value === undefined || localStorage.setItem('colours', value); return localStorage.getItem('colours'); } catch { return null; } };
  const kept = keep();
  if (kept) root.dataset.colours = kept;
  for (const button of document.querySelectorAll('button.colours')) {
    button.hidden = false;
    button.onclick = () => {
      const dark = root.dataset.colours ? root.dataset.colours === 'dark' : matchMedia('(prefers-color-scheme: dark)').matches;
      root.dataset.colours = dark ? 'light' : 'dark';
      keep(root.dataset.colours);
    };
  }
})();`;

function navigation({ index, previous, next, source }: PageOptions): string {
  const link = (to: PageLink | undefined, arrow: (title: string) => string) =>
    to ? `<a href="${escapeHtml(to.href)}">${arrow(escapeHtml(to.title))}</a>` : '';
  return `<nav class="bar"><span>${index ? `<a href="${escapeHtml(index)}">Contents</a>` : ''}</span>
<span>${link(previous, (title) => `← ${title}`)}</span><span>${link(next, (title) => `${title} →`)}</span>
<span>${source === undefined ? '' : `<a href="${escapeHtml(source)}" download>notebook</a> `}<button class="colours" type="button" title="Light or dark" hidden>◐</button></span></nav>`;
}

function codeCell(cell: CodeCell, renderer: MarkdownRenderer): string {
  const source = joinText(cell.source);
  if (source.trim() === '') return '';
  const count = cell.execution_count === null ? '' : `<span class="count">${Number(cell.execution_count)}</span>`;
  const outputs = cell.outputs.map((output) => renderOutput(output, renderer)).join('\n');
  return `<section class="cell">${count}<pre class="code"><code>${renderer.code(printable(source), 'typescript')}</code></pre>
${outputs ? `<div class="outputs">${outputs}</div>` : ''}</section>`;
}

function renderOutput(output: Output, renderer: MarkdownRenderer): string {
  switch (output.output_type) {
    case 'stream':
      return `<pre class="${output.name === 'stderr' ? 'stderr' : 'stdout'}">${plainHtml(joinText(output.text))}</pre>`;
    case 'error':
      return `<pre class="stderr">${plainHtml(output.traceback.join('\n') || `${output.ename}: ${output.evalue}`)}</pre>`;
    default:
      return renderBundle(output.data, output.metadata ?? {}, renderer);
  }
}

/** The richest form a page can show. */
function renderBundle(data: MimeBundle, metadata: Readonly<Record<string, unknown>>, renderer: MarkdownRenderer): string {
  const text = (type: string) => (data[type] === undefined ? undefined : textOf(data[type]));
  const html = text('text/html');
  if (html !== undefined) return `<div class="html">${renderer.harmless(html)}</div>`;
  for (const type of ['image/png', 'image/jpeg', 'image/gif', 'image/webp', 'image/svg+xml']) {
    const picture = text(type);
    if (picture === undefined) continue;
    const address = pictureAddress(type, type === 'image/svg+xml' ? Buffer.from(picture).toString('base64') : picture);
    if (address === undefined) return `<pre class="stderr">${escapeHtml(`${type}: the data are no base64`)}</pre>`;
    const { width } = (metadata[type] ?? {}) as { width?: unknown };
    const size = typeof width === 'number' && Number.isFinite(width) ? ` width="${width}"` : '';
    return `<img class="picture" src="${address}" alt="${escapeHtml(printable(text('text/plain') ?? 'picture'))}"${size}>`;
  }
  const markdown = text('text/markdown') ?? text('text/latex');
  if (markdown !== undefined) return `<div class="text">${renderer.html(markdown)}</div>`;
  return `<pre class="stdout">${plainHtml(text('text/plain') ?? '')}</pre>`;
}

const PICTURE_TYPES = new Set(['image/png', 'image/jpeg', 'image/gif', 'image/webp', 'image/svg+xml']);

/** A picture's data as an address, which no quotation mark can end; undefined where they are none. */
function pictureAddress(type: string, base64: string): string | undefined {
  const data = base64.replace(/\s/g, '');
  return PICTURE_TYPES.has(type) && /^[A-Za-z0-9+/]+={0,2}$/.test(data) ? `data:${type};base64,${data}` : undefined;
}

/** Data of a mime type as text: lines joined, anything else as JSON. */
function textOf(data: unknown): string {
  if (typeof data === 'string') return data;
  return Array.isArray(data) && data.every((line) => typeof line === 'string') ? data.join('') : (JSON.stringify(data) ?? '');
}

/** An address without its percent signs; as it is where they mean nothing. */
function decoded(address: string): string {
  try {
    return decodeURIComponent(address);
  } catch {
    return address;
  }
}

/** More than this of one text makes a page that browsers cannot scroll. */
const TEXT_LIMIT = 200_000;

/** Terminal output as HTML: without colours and titles; of a line that was written over, the last state. */
function plainHtml(text: string): string {
  const shown = text.length > TEXT_LIMIT ? text.slice(0, TEXT_LIMIT) : text;
  const plain = shown
    .replace(TERMINAL_SEQUENCE, '')
    .replace(/\r+(?=\n|$)/g, '')
    .replace(/^.*\r/gm, '');
  const rest = text.length - shown.length;
  return escapeHtml(printable(plain)) + (rest ? `\n[${rest} more characters: see the notebook]` : '');
}

/** Control sequences (colours, movements) and operating system commands (titles, links) with their texts, as ECMA-48 builds them. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they begin with one
const TERMINAL_SEQUENCE = /(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]|(?:\x1b\]|\x9d)[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)|\x1b[ -/]*[0-Z\\^-~]/g;
