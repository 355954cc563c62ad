/** Markdown as Jupyter shows it: CommonMark and tables (markdown-it), mathematics between dollars (KaTeX), code in colours (highlight.js). */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { escapeHtml } from '../display/bundle.js';
import { optionalPackage, packageFolder } from '../display/optional-package.js';
import { htmlCleaner } from './harmless-html.js';

export interface Heading {
  readonly level: number;
  readonly text: string;
  readonly id: string;
}

export interface MarkdownOptions {
  /** Rewrites the address of a link or a picture. */
  readonly address?: (address: string, kind: 'link' | 'picture') => string;
  /** Headings found are added here, in order. */
  readonly headings?: Heading[];
}

export interface MarkdownRenderer {
  /** Markdown as HTML that does nothing by itself: see harmless-html.ts. */
  html(markdown: string, options?: MarkdownOptions): string;
  /** HTML that somebody wrote, cleaned in the same way. */
  harmless(html: string): string;
  /** Code in coloured spans; escaped only where the language is unknown. */
  code(source: string, language: string): string;
  /** The style sheet and the fonts, embedded, that the mathematics in `html` needs; empty where it has none. */
  mathStyle(html: string): string;
}

/**
 * Loads the packages and returns the renderer.
 *
 * KaTeX's own fonts go into the pages: browsers draw MathML only as well as the fonts of the machine, and lose bars and script letters without.
 */
export async function markdownRenderer(): Promise<MarkdownRenderer> {
  const purpose = 'Building the book';
  const [{ default: MarkdownIt }, { default: katex }, { default: highlight }] = await Promise.all([
    optionalPackage<{ default: new (options: object) => MarkdownIt }>('markdown-it', purpose),
    optionalPackage<{ default: { renderToString(tex: string, options: object): string } }>('katex', purpose),
    optionalPackage<{ default: Highlighter }>('highlight.js/lib/common', purpose),
  ]);
  const code = (source: string, language: string) =>
    highlight.getLanguage(language) ? highlight.highlight(source, { language }).value : escapeHtml(source);
  const math = (tex: string, displayMode: boolean) =>
    katex.renderToString(tex, { displayMode, output: 'htmlAndMathml', throwOnError: true });
  const harmless = await htmlCleaner(purpose);
  // Markdown may contain HTML, as it may in Jupyter, which is cleaned with the rest.
  const markdown = new MarkdownIt({ html: true, linkify: false, highlight: code });
  addMath(markdown, math);
  markdown.renderer.rules.heading_open = (tokens, index, _, env) => {
    const text = (tokens[index + 1].children ?? []).map(({ content }) => content).join('');
    const level = Number(tokens[index].tag.slice(1));
    const id = uniqueId(text, env.headings ?? []);
    env.headings?.push({ level, text, id });
    return `<h${level} id="${id}">`;
  };
  const rewrite =
    (attribute: 'href' | 'src', kind: 'link' | 'picture') =>
    (tokens: Token[], index: number, options: object, env: MarkdownOptions, self: Renderer) => {
      const address = tokens[index].attrGet(attribute);
      if (address !== null && env.address) tokens[index].attrSet(attribute, env.address(address, kind));
      if (kind === 'link') return self.renderToken(tokens, index, options);
      return `<img src="${escapeHtml(tokens[index].attrGet('src') ?? '')}" alt="${escapeHtml(tokens[index].content)}">`;
    };
  markdown.renderer.rules.link_open = rewrite('href', 'link');
  markdown.renderer.rules.image = rewrite('src', 'picture');
  return {
    html: (text, options = {}) => harmless(markdown.render(text, { ...options })),
    harmless,
    code,
    mathStyle: mathStyles(join(packageFolder('katex', purpose), 'dist')),
  };
}

/** `$a$` within a line, `$$a$$` as a block of its own or within a line; a dollar beside a space or before a digit is a dollar. */
function addMath(markdown: MarkdownIt, math: (tex: string, display: boolean) => string): void {
  markdown.inline.ruler.before('escape', 'math', (state, silent) => {
    const match = /^\$\$([\s\S]+?)\$\$|^\$(?!\s)((?:\\.|[^\\$])+?)(?<!\s)\$(?!\d)/.exec(state.src.slice(state.pos));
    if (!match) return false;
    if (!silent) {
      const token = state.push('math', '', 0);
      token.content = match[1] ?? match[2];
      token.meta = { display: match[1] !== undefined };
    }
    state.pos += match[0].length;
    return true;
  });
  markdown.block.ruler.before(
    'fence',
    'math_block',
    (state, startLine, endLine, silent) => {
      const begin = state.bMarks[startLine] + state.tShift[startLine];
      if (!state.src.startsWith('$$', begin)) return false;
      const match = /^\$\$([\s\S]+?)\$\$[ \t]*(?=\n|$)/.exec(state.src.slice(begin, state.eMarks[endLine - 1]));
      if (!match) return false;
      if (silent) return true;
      const token = state.push('math', '', 0);
      token.content = match[1];
      token.meta = { display: true };
      token.block = true;
      state.line = startLine + match[0].split('\n').length;
      return true;
    },
    { alt: ['paragraph', 'blockquote', 'list'] },
  );
  markdown.renderer.rules.math = (tokens, index) => math(tokens[index].content, tokens[index].meta?.display === true);
}

/** What makes KaTeX reach for a font beyond its main ones. */
const MATH_FONTS: Readonly<Record<string, RegExp>> = {
  KaTeX_Main: /./,
  KaTeX_Math: /./,
  KaTeX_Size1: /delimsizing|size1|op-symbol/,
  KaTeX_Size2: /delimsizing|size2|op-symbol/,
  KaTeX_Size3: /delimsizing|size3/,
  KaTeX_Size4: /delimsizing|size4/,
  KaTeX_AMS: /amsrm|mathbb|mathboldfrak/,
  KaTeX_Caligraphic: /mathcal/,
  KaTeX_Fraktur: /mathfrak/,
  KaTeX_SansSerif: /mathsf|textsf/,
  KaTeX_Script: /mathscr/,
  KaTeX_Typewriter: /mathtt|texttt/,
};

function mathStyles(folder: string): (html: string) => string {
  const sheet = readFileSync(join(folder, 'katex.min.css'), 'utf8');
  const faces = sheet.match(/@font-face\{[^}]*\}/g) ?? [];
  const rest = sheet.replace(/@font-face\{[^}]*\}/g, '');
  return (html) => {
    if (!html.includes('class="katex')) return '';
    const needed = faces.filter((face) => MATH_FONTS[/font-family:"?(\w+)/.exec(face)?.[1] ?? '']?.test(html));
    const embedded = needed.map((face) =>
      face.replace(/src:[^}]*?url\(([^)]*\.woff2)\)[^}]*(?=\})/, (_, file: string) => {
        const data = readFileSync(join(folder, file)).toString('base64');
        return `src:url(data:font/woff2;base64,${data}) format("woff2")`;
      }),
    );
    return embedded.join('') + rest;
  };
}

function uniqueId(text: string, taken: readonly Heading[]): string {
  const plain = text.toLowerCase().replace(/[^\p{L}\p{N}]+/gu, '-').replace(/^-+|-+$/g, '') || 'section'; // biome-ignore format: one chain
  let id = plain;
  for (let copy = 2; taken.some((heading) => heading.id === id); copy++) id = `${plain}-${copy}`;
  return id;
}

/** As much of markdown-it and highlight.js as is used here. */
interface MarkdownIt {
  render(markdown: string, env: MarkdownOptions): string;
  readonly renderer: {
    readonly rules: Record<string, (tokens: Token[], index: number, options: object, env: MarkdownOptions, self: Renderer) => string>;
  };
  readonly inline: {
    readonly ruler: { before(beside: string, name: string, rule: (state: InlineState, silent: boolean) => boolean): void };
  };
  readonly block: {
    readonly ruler: {
      before(
        beside: string,
        name: string,
        rule: (state: BlockState, startLine: number, endLine: number, silent: boolean) => boolean,
        options: object,
      ): void;
    };
  };
}

interface Renderer {
  renderToken(tokens: Token[], index: number, options: object): string;
}

interface Token {
  readonly tag: string;
  readonly children: Token[] | null;
  content: string;
  block: boolean;
  meta?: { display?: boolean };
  attrGet(name: string): string | null;
  attrSet(name: string, value: string): void;
}

interface InlineState {
  readonly src: string;
  pos: number;
  push(type: string, tag: string, nesting: number): Token;
}

interface BlockState {
  readonly src: string;
  readonly bMarks: readonly number[];
  readonly eMarks: readonly number[];
  readonly tShift: readonly number[];
  line: number;
  push(type: string, tag: string, nesting: number): Token;
}

interface Highlighter {
  getLanguage(name: string): unknown;
  highlight(code: string, options: { language: string }): { value: string };
}
