/**
 * The browser's layout as far as plotly.js asks for it: boxes around SVG text, and points along straight paths.
 *
 * A text's width is measured by whoever draws it; its lines are `tspan.line`, its font is inherited from `style`, its place is its own `x` and `y`
 * under the `translate` and `rotate` of itself and what it lies in. Elements without text have no size.
 */

/** As much of a jsdom window as is measured (the project has no DOM types). */
export interface MeasuredWindow {
  readonly Element: { readonly prototype: { getBoundingClientRect: (this: SvgNode) => Box } };
  readonly SVGElement: {
    readonly prototype: {
      getBBox: (this: SvgNode) => Box;
      getComputedTextLength: (this: SvgNode) => number;
      getScreenCTM: () => object;
      getTotalLength: (this: SvgNode) => number;
      getPointAtLength: (this: SvgNode, length: number) => Point;
    };
  };
}

interface SvgNode {
  readonly tagName: string;
  readonly textContent: string | null;
  readonly parentNode: SvgNode | null;
  getAttribute?(name: string): string | null;
  querySelectorAll(selector: string): ArrayLike<SvgNode>;
}

interface Point {
  readonly x: number;
  readonly y: number;
}

type Box = ReturnType<typeof box>;

/** Ascent and line height of DejaVu Sans, in font sizes. */
const ASCENT = 0.93;
const HEIGHT = 1.17;
/** plotly.js's own distance between the lines of a text, in font sizes. */
const LINE_SPACING = 1.3;

/** Gives a window's elements their boxes. `inkWidth` tells the width of what an SVG shows. */
export function layOutText(window: MeasuredWindow, inkWidth: (svg: string) => number): void {
  const widthOf = textWidths(inkWidth);
  const localBox = (text: SvgNode): Box => {
    const size = Number.parseFloat(inherited(text, 'font-size') ?? '12');
    const weight = inherited(text, 'font-weight') ?? 'normal';
    const found = Array.from(text.querySelectorAll('tspan.line'));
    const lines = found.length ? found : [text];
    const width = Math.max(...lines.map((line) => widthOf(line.textContent ?? '', weight) * size));
    const x = attribute(lines[0], 'x') || attribute(text, 'x');
    const y =
      (attribute(lines[0], 'y') || attribute(text, 'y')) + (text.getAttribute?.('dy')?.endsWith('em') ? attribute(text, 'dy') * size : 0);
    const anchor = text.getAttribute?.('text-anchor');
    const left = x - (anchor === 'middle' ? width / 2 : anchor === 'end' ? width : 0);
    return box(left, y - ASCENT * size, width, (HEIGHT + LINE_SPACING * (lines.length - 1)) * size);
  };
  /** The box around all text in `element`, in the coordinates of `outer`'s inside. */
  const measure = (element: SvgNode, outer: SvgNode | null): Box => {
    const texts = element.tagName === 'text' || element.tagName === 'tspan' ? [element] : Array.from(element.querySelectorAll('text'));
    const corners = texts.flatMap((text) => {
      const { left, top, right, bottom } = localBox(text);
      const all = [left, right].flatMap((x) => [top, bottom].map((y): Point => ({ x, y })));
      return all.map((corner) => {
        let point = corner;
        for (let at: SvgNode | null = text; at && at !== outer; at = at.parentNode) point = transformed(at, point);
        return point;
      });
    });
    if (corners.length === 0) return box(0, 0, 0, 0);
    const [xs, ys] = [corners.map(({ x }) => x), corners.map(({ y }) => y)];
    const [left, top] = [Math.min(...xs), Math.min(...ys)];
    return box(left, top, Math.max(...xs) - left, Math.max(...ys) - top);
  };
  const { Element, SVGElement } = window;
  Element.prototype.getBoundingClientRect = function () {
    return measure(this, null);
  };
  SVGElement.prototype.getBBox = function () {
    return measure(this, this);
  };
  SVGElement.prototype.getComputedTextLength = function () {
    return measure(this, this).width;
  };
  SVGElement.prototype.getScreenCTM = () => ({ a: 1, b: 0, c: 0, d: 1, e: 0, f: 0, inverse: () => ({}) });
  SVGElement.prototype.getTotalLength = function () {
    return points(this).reduce((length, point, index, all) => (index ? length + distance(all[index - 1], point) : 0), 0);
  };
  SVGElement.prototype.getPointAtLength = function (length) {
    return pointAlong(points(this), length);
  };
}

const box = (x: number, y: number, width: number, height: number) => ({
  x,
  y,
  width,
  height,
  left: x,
  top: y,
  right: x + width,
  bottom: y + height,
});

/** Advance widths in font sizes, each text measured once. */
function textWidths(inkWidth: (svg: string) => number): (text: string, weight: string) => number {
  const known = new Map<string, number>();
  const ink = (content: string, weight: string) =>
    inkWidth(
      `<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><text xml:space="preserve" font-family="DejaVu Sans" font-weight="${weight}" font-size="100">${content}</text></svg>`,
    );
  return (text, weight) => {
    const key = `${weight} ${text}`;
    let width = known.get(key);
    if (width === undefined) {
      const escaped = text.replace(/[&<]/g, (char) => `&#${char.charCodeAt(0)};`);
      // Between two letters, because ink ends where a space begins.
      width = (ink(`x${escaped}x`, weight) - ink('xx', weight)) / 100;
      known.set(key, width);
    }
    return width;
  };
}

const attribute = (element: SvgNode, name: string) => Number.parseFloat(element.getAttribute?.(name) ?? '') || 0;

function inherited(element: SvgNode, property: string): string | undefined {
  for (let at: SvgNode | null = element; at; at = at.parentNode) {
    const value = new RegExp(`(?:^|[;\\s])${property}:\\s*([^;]+)`).exec(at.getAttribute?.('style') ?? '')?.[1];
    if (value) return value;
  }
  return undefined;
}

/** A point of the element's inside, seen from its outside. The last transformation in the list acts first. */
function transformed(element: SvgNode, point: Point): Point {
  const list = [...(element.getAttribute?.('transform') ?? '').matchAll(/(translate|rotate|scale)\(([^)]*)\)/g)];
  return list.reduceRight(({ x, y }, [, kind, values]) => {
    const [a = 0, b = 0, c = 0] = values.split(/[\s,]+/).map(Number);
    if (kind === 'translate') return { x: x + a, y: y + b };
    if (kind === 'scale') return { x: x * a, y: y * (b || a) };
    const [cos, sin] = [Math.cos((a * Math.PI) / 180), Math.sin((a * Math.PI) / 180)];
    return { x: b + (x - b) * cos - (y - c) * sin, y: c + (x - b) * sin + (y - c) * cos };
  }, point);
}

/** The corners of a path of straight lines (annotation arrows are such). */
function points(path: SvgNode): Point[] {
  const numbers = (path.getAttribute?.('d') ?? '').match(/-?\d*\.?\d+(?:e[-+]?\d+)?/gi)?.map(Number) ?? [];
  return Array.from({ length: Math.floor(numbers.length / 2) }, (_, index) => ({ x: numbers[2 * index], y: numbers[2 * index + 1] }));
}

const distance = (a: Point, b: Point) => Math.hypot(b.x - a.x, b.y - a.y);

function pointAlong(corners: readonly Point[], length: number): Point {
  let left = length;
  for (let index = 1; index < corners.length; index++) {
    const [from, to] = [corners[index - 1], corners[index]];
    const step = distance(from, to);
    if (left <= step && step > 0) return { x: from.x + ((to.x - from.x) * left) / step, y: from.y + ((to.y - from.y) * left) / step };
    left -= step;
  }
  return corners.at(-1) ?? { x: 0, y: 0 };
}
