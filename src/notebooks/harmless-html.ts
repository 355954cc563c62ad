/**
 * HTML of notebooks, of which anybody may have written any: what is left of it can be looked at and followed, and does nothing by itself.
 *
 * Out go elements that run, load, embed, send or redirect, and whatever lies in them; handlers; addresses but of the web, of mail, of the page itself and of
 * pictures within; styles that put something over the rest of the page. The pages' content security policy stands behind.
 */
import { optionalPackage } from '../display/optional-package.js';

const REMOVED = new Set(
  `script style noscript template iframe frame frameset object embed applet portal link meta base title form input button textarea select option
dialog audio video source track canvas slot plaintext xmp animate animatemotion animatetransform set use foreignobject`.split(/\s+/),
);

/** Attributes beside handlers (`on...`) that act, load, or put a name in the way of the page's own script. */
const REMOVED_ATTRIBUTES = new Set([
  'srcdoc',
  'srcset',
  'action',
  'formaction',
  'ping',
  'background',
  'poster',
  'data',
  'name',
  'is',
  'autofocus',
]);

const ADDRESSES = new Set(['href', 'xlink:href', 'src', 'cite']);
const LINK_SCHEMES = /^(https?|mailto):/i;
const PICTURE = /^data:image\/(png|jpeg|gif|webp|svg\+xml);base64,/i;

/** Declarations that reach out of their place, or out of the page. */
const STYLE_REACHES_OUT = /position\s*:\s*(fixed|absolute|sticky)|url\s*\(|image-set|expression\s*\(|\\|\/\*/i;

/** Loads the parser and returns the function that cleans a piece of HTML. */
export async function htmlCleaner(purpose: string): Promise<(html: string) => string> {
  const { JSDOM } = await optionalPackage<{ JSDOM: new (html: string) => { window: { document: HtmlDocument } } }>('jsdom', purpose);
  const { document } = new JSDOM('').window;
  return (html) => {
    const template = document.createElement('template');
    template.innerHTML = html;
    clean(template.content);
    return template.innerHTML;
  };
}

function clean(parent: HtmlNode): void {
  for (const node of Array.from(parent.childNodes)) {
    const { nodeType, localName = '' } = node;
    if (nodeType === TEXT) continue;
    if (nodeType !== ELEMENT || REMOVED.has(localName.toLowerCase())) {
      parent.removeChild(node);
      continue;
    }
    for (const name of node.getAttributeNames()) {
      const kept = attribute(localName.toLowerCase(), name.toLowerCase(), node.getAttribute(name) ?? '');
      if (kept === undefined) node.removeAttribute(name);
      else if (kept !== node.getAttribute(name)) node.setAttribute(name, kept);
    }
    clean(node);
  }
}

/** What is kept of an attribute's value, or undefined. */
function attribute(element: string, name: string, value: string): string | undefined {
  if (name.startsWith('on') || REMOVED_ATTRIBUTES.has(name)) return undefined;
  if (name === 'style') {
    return value
      .split(';')
      .filter((declaration) => !STYLE_REACHES_OUT.test(declaration))
      .join(';');
  }
  if (!ADDRESSES.has(name)) return value;
  const address = value.replace(/[\p{Cc}\s]/gu, '');
  if (!/^[^/?#]*:/.test(address)) return value; // within the book
  return (element === 'a' ? LINK_SCHEMES : PICTURE).test(address) || LINK_SCHEMES.test(address) ? value : undefined;
}

const ELEMENT = 1;
const TEXT = 3;

/** As much of a DOM as is used here (the project has no DOM types). */
interface HtmlNode {
  readonly nodeType: number;
  readonly localName?: string;
  readonly childNodes: ArrayLike<HtmlNode>;
  removeChild(node: HtmlNode): void;
  getAttributeNames(): string[];
  getAttribute(name: string): string | null;
  setAttribute(name: string, value: string): void;
  removeAttribute(name: string): void;
}

interface HtmlDocument {
  createElement(name: 'template'): { innerHTML: string; readonly content: HtmlNode };
}
