/** Tables from rows, a data frame or a series, as HTML and as text, numbers aligned at the right. */
import { checkOptions, checkTexts } from '../arguments.js';
import { checkNumber } from '../number-setting.js';
import { escapeHtml, showHtml } from './bundle.js';
import { localTime } from './local-time.js';
import { printable, printableLine } from './printable.js';

/**
 * Values by column. JavaScript itself puts names that are whole numbers (`'10'`, `'2'`) in the order of numbers: a `Map` keeps the order it was given, and
 * so do `TableOptions.columns` and a data frame.
 */
export type Row = Readonly<Record<string, unknown>> | ReadonlyMap<string, unknown>;

/** As much of a danfo.js `DataFrame` or `Series` as a table needs: values by row, or one by one under a single column. */
export interface DataFrameLike {
  /** Their names. */
  readonly columns: readonly string[];
  /** Rows of values, as danfo keeps them. */
  readonly values: unknown;
}

/** What is shown of the rows. */
export interface TableOptions {
  /** Which columns, in which order; default all, in the order they first appear. */
  readonly columns?: readonly string[];
  /** What the table shows, with units where the columns do not name them. */
  readonly caption?: string;
  /** Digits after the point in columns that hold numbers other than integers; default 3. What they would show as 0 is written as `1.00e−6`. */
  readonly digits?: number;
  /** Rows shown before the rest is counted instead; default 100. */
  readonly maxRows?: number;
}

/**
 * Shows a table below the running cell; prints it elsewhere.
 *
 * @example
 * ```ts
 * import { table } from 'search-e1/display';
 *
 * table([{ set: 'nq', em: 0.44 }], { digits: 2 });
 * ```
 */
export function table(data: readonly Row[] | DataFrameLike, options: TableOptions = {}): void {
  showHtml(tableHtml(data, options), tableText(data, options));
}

/**
 * The table as HTML; every cell is escaped.
 *
 * @example
 * ```ts
 * import { tableHtml } from 'search-e1/display';
 *
 * tableHtml([{ set: '<nq>' }]).includes('<nq>'); // false
 * ```
 */
export function tableHtml(data: readonly Row[] | DataFrameLike, options: TableOptions = {}): string {
  const { columns, cells, numeric, more } = layOut(data, options);
  const align = (column: number) => ` style="text-align:${numeric[column] ? 'right' : 'left'}"`;
  const head = columns.map((name, column) => `<th scope="col"${align(column)}>${escapeHtml(name)}</th>`).join('');
  const body = cells
    .map((row) => `<tr>${row.map((text, column) => `<td${align(column)}>${escapeHtml(text)}</td>`).join('')}</tr>`)
    .join('\n');
  const caption = [options.caption && printable(options.caption), more].filter(Boolean).join(' · ');
  return `<table>${caption ? `<caption>${escapeHtml(caption)}</caption>` : ''}
<thead><tr>${head}</tr></thead>
<tbody>
${body}
</tbody></table>`;
}

/**
 * The table as lines of text, columns two spaces apart.
 *
 * @example
 * ```ts
 * import { tableText } from 'search-e1/display';
 *
 * tableText([{ set: 'nq', em: 0.444 }], { digits: 2 }).includes('0.44'); // true
 * ```
 */
export function tableText(data: readonly Row[] | DataFrameLike, options: TableOptions = {}): string {
  const { columns, cells, numeric, more } = layOut(data, options);
  const widths = columns.map((name, column) => cells.reduce((width, row) => Math.max(width, row[column].length), name.length));
  const line = (row: readonly string[]) =>
    row
      .map((text, column) => (numeric[column] ? text.padStart(widths[column]) : text.padEnd(widths[column])))
      .join('  ')
      .trimEnd();
  return [
    ...(options.caption ? [printable(options.caption)] : []),
    line(columns),
    widths.map((width) => '-'.repeat(width)).join('  '),
    ...cells.map(line), // A row without values is a row.
    ...(more ? [more] : []),
  ].join('\n');
}

function layOut(data: readonly Row[] | DataFrameLike, options: TableOptions) {
  checkOptions('table', options, ['columns', 'caption', 'digits', 'maxRows'] satisfies (keyof TableOptions)[]);
  const { columns: chosen, digits = 3, maxRows = 100 } = options;
  const { columns: found, rows } = read(data);
  if (chosen !== undefined) checkTexts('table', 'columns', chosen);
  checkNumber('table: digits', digits, { integer: true, min: 0, max: 100 });
  if (maxRows !== Number.POSITIVE_INFINITY) checkNumber('table: maxRows', maxRows, { integer: true, min: 0 });
  const missing = rows.length > 0 ? chosen?.find((name) => !found.includes(name)) : undefined;
  if (missing !== undefined) throw new Error(`table: expected columns of the rows (${found.join(', ')}), got "${missing}".`);
  const columns = chosen ?? found;
  if (columns.length === 0)
    throw new Error('table: expected at least one row or named columns, got no rows. Name the columns for an empty table.');
  const places = chosen ? chosen.map((name) => found.indexOf(name)) : found.map((_, place) => place);
  const shown = rows.slice(0, maxRows).map((row) => places.map((place) => row[place]));
  // One column, one number of digits: whole numbers among fractions are written as fractions.
  const digitsOf = columns.map((_, column) =>
    shown.every((row) => typeof row[column] !== 'number' || Number.isInteger(row[column])) ? 0 : digits,
  );
  const cells = shown.map((row) => row.map((value, column) => format(value, digitsOf[column])));
  const numeric = columns.map(
    (_, column) => shown.length > 0 && shown.every((row) => row[column] == null || ['number', 'bigint'].includes(typeof row[column])),
  );
  return {
    columns: columns.map(printableLine),
    cells,
    numeric,
    more: rows.length > maxRows ? `${rows.length - maxRows} more rows` : undefined,
  };
}

/** Columns in the order they first appear, and every row's values in that order. */
function read(data: readonly Row[] | DataFrameLike): { columns: readonly string[]; rows: readonly (readonly unknown[])[] } {
  if (data && typeof data === 'object' && 'columns' in data && Array.isArray(data.values)) {
    const { columns } = data;
    return { columns, rows: data.values.map((row: unknown) => (Array.isArray(row) ? row : [row])) };
  }
  if (!Array.isArray(data)) throw new Error(`table: expected a list of rows or a data frame, got ${kindOf(data)}.`);
  const entries = (data as readonly Row[]).map((row, index) => {
    if (typeof row !== 'object' || row === null)
      throw new Error(
        `table: expected every row to hold its values by column, such as { step: 1 }, got ${kindOf(row)} as row ${index + 1}.`,
      );
    return new Map(row instanceof Map ? row : Object.entries(row));
  });
  const columns = [...new Set(entries.flatMap((row) => [...row.keys()]))];
  return { columns, rows: entries.map((row) => columns.map((name) => row.get(name))) };
}

const kindOf = (value: unknown) => (value === null ? 'null' : typeof value === 'object' ? 'an object' : `${typeof value} ${String(value)}`);

function format(value: unknown, digits: number): string {
  if (value == null) return '';
  if (typeof value === 'number') {
    const lost = value !== 0 && Math.abs(value) < 0.5 * 10 ** -digits;
    return (Number.isFinite(value) ? (lost ? value.toExponential(2) : value.toFixed(digits)) : String(value)).replaceAll('-', '−');
  }
  return printableLine(typeof value === 'object' ? inside(value) : String(value));
}

/** An object in a cell: dates in the local time zone, maps and sets as what they hold, all else as JSON. */
function inside(value: object): string {
  if (value instanceof Date) return localTime(value) ?? 'no date';
  try {
    return JSON.stringify(value, (_, item: unknown) => {
      if (typeof item === 'bigint') return String(item);
      if (typeof item === 'number' && !Number.isFinite(item)) return String(item);
      if (item instanceof Map) return Object.fromEntries(item);
      if (item instanceof Set) return [...item];
      if (ArrayBuffer.isView(item) && !(item instanceof DataView)) return Array.from(item as Float32Array);
      return item;
    });
  } catch {
    return String(value); // It holds itself.
  }
}
