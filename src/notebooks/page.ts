/**
 * An executed notebook as one HTML page that needs nothing else: styles and pictures inside, no network, light or dark, fit for print.
 *
 * HTML outputs are shown as they are, for they come from the project's own displays, which escape what models and passages say. Should hostile text
 * slip through all the same, the page's content security policy lets no script run but its own switch of colours.
 */
import { createHash } from 'node:crypto';
import { escapeHtml } from '../display/bundle.js';
import type { Heading, MarkdownRenderer } from './markdown.js';
import { type CodeCell, joinText, type MimeBundle, type MultilineText, type Notebook, notebookTitle, type Output } from './notebook.js';
import { STYLE } from './style.js';

export interface PageLink {
  readonly title: string;
  readonly href: string;
}

export interface PageOptions {
  /** The notebook itself, beside the page. */
  readonly source: string;
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
      const attached = given.startsWith('attachment:') ? cell.attachments?.[decodeURIComponent(given.slice(11))] : undefined;
      const [type, data] = Object.entries(attached ?? {})[0] ?? [];
      return type ? `data:${type};base64,${joinText(data as MultilineText)}` : (options.address?.(given, kind) ?? given);
    };
    return `<section class="text">${renderer.html(joinText(cell.source), { headings, address })}</section>`;
  });
  const contents = headings
    .filter(({ level }) => level === 2 || level === 3)
    .map(({ level, text, id }) => `<li class="level-${level}"><a href="#${id}">${escapeHtml(text)}</a></li>`);
  const title = notebookTitle(notebook) ?? options.source;
  const bar = navigation(options);
  return htmlPage(
    title,
    `${bar}
${contents.length > 2 ? `<nav class="contents"><details><summary>On this page</summary><ul>${contents.join('')}</ul></details></nav>` : ''}
<main>
${options.failure ? `<pre class="failure">This notebook's run failed.\n${escapeHtml(options.failure)}</pre>` : ''}
${cells.join('\n')}
</main>
${bar}`,
    renderer.mathStyle(cells.join('')),
  );
}

/** A page of the book around any content: head, styles, the switch of colours. */
export function htmlPage(title: string, content: string, style = ''): string {
  const policy = `default-src 'none'; img-src data:; font-src data:; style-src 'unsafe-inline'; script-src 'sha256-${createHash('sha256').update(SWITCH).digest('base64')}'`;
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
<span><a href="${escapeHtml(source)}" download>notebook</a> <button class="colours" type="button" title="Light or dark" hidden>◐</button></span></nav>`;
}

function codeCell(cell: CodeCell, renderer: MarkdownRenderer): string {
  const source = joinText(cell.source);
  if (source.trim() === '') return '';
  const count = cell.execution_count === null ? '' : `<span class="count">${cell.execution_count}</span>`;
  const outputs = cell.outputs.map((output) => renderOutput(output, renderer)).join('\n');
  return `<section class="cell">${count}<pre class="code"><code>${renderer.code(source, 'typescript')}</code></pre>
${outputs ? `<div class="outputs">${outputs}</div>` : ''}</section>`;
}

function renderOutput(output: Output, renderer: MarkdownRenderer): string {
  switch (output.output_type) {
    case 'stream':
      return `<pre class="${output.name}">${escapeHtml(plain(joinText(output.text)))}</pre>`;
    case 'error':
      return `<pre class="stderr">${escapeHtml(plain(output.traceback.join('\n') || `${output.ename}: ${output.evalue}`))}</pre>`;
    default:
      return renderBundle(output.data, output.metadata, renderer);
  }
}

/** The richest form a page can show. */
function renderBundle(data: MimeBundle, metadata: Readonly<Record<string, unknown>>, renderer: MarkdownRenderer): string {
  const text = (type: string) => (data[type] === undefined ? undefined : joinText(data[type] as MultilineText));
  const html = text('text/html');
  if (html !== undefined) return `<div class="html">${html}</div>`;
  for (const type of ['image/png', 'image/jpeg', 'image/gif']) {
    const image = text(type);
    if (image === undefined) continue;
    const { width } = (metadata[type] ?? {}) as { width?: number };
    return `<img class="picture" src="data:${type};base64,${image.replace(/\s/g, '')}" alt="${escapeHtml(text('text/plain') ?? 'picture')}"${Number.isFinite(width) ? ` width="${width}"` : ''}>`;
  }
  const svg = text('image/svg+xml');
  if (svg !== undefined)
    return `<img class="picture" src="data:image/svg+xml;base64,${Buffer.from(svg).toString('base64')}" alt="${escapeHtml(text('text/plain') ?? 'picture')}">`;
  const markdown = text('text/markdown') ?? text('text/latex');
  if (markdown !== undefined) return `<div class="text">${renderer.html(markdown)}</div>`;
  return `<pre class="stdout">${escapeHtml(plain(text('text/plain') ?? ''))}</pre>`;
}

/** Without terminal colours; of a line that was written over, the last state. */
function plain(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: terminal colours begin with one
  return text.replace(/\x1b\[[0-9;]*[A-Za-z]/g, '').replace(/^.*\r(?!\n|$)/gm, '');
}
