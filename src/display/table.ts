/** Tables from rows or a data frame, as HTML and as text, numbers aligned at the right. */
import { escapeHtml, showHtml } from './bundle.js';

export type Row = Readonly<Record<string, unknown>>;

/** As much of a danfo.js `DataFrame` as a table needs. */
export interface DataFrameLike {
  readonly columns: readonly string[];
  readonly values: unknown;
}

export interface TableOptions {
  /** Which columns, in which order; default all, in the order they first appear. */
  readonly columns?: readonly string[];
  /** What the table shows, with units where the columns do not name them. */
  readonly caption?: string;
  /** Digits after the point in columns that hold numbers other than integers; default 3. */
  readonly digits?: number;
  /** Rows shown before the rest is counted instead; default 100. */
  readonly maxRows?: number;
}

/** Shows a table below the running cell; prints it elsewhere. */
export function table(data: readonly Row[] | DataFrameLike, options: TableOptions = {}): void {
  showHtml(tableHtml(data, options), tableText(data, options));
}

/** The table as HTML; every cell is escaped. */
export function tableHtml(data: readonly Row[] | DataFrameLike, options: TableOptions = {}): string {
  const { columns, cells, numeric, more } = layOut(data, options);
  const align = (column: number) => ` style="text-align:${numeric[column] ? 'right' : 'left'}"`;
  const head = columns.map((name, column) => `<th scope="col"${align(column)}>${escapeHtml(name)}</th>`).join('');
  const body = cells
    .map((row) => `<tr>${row.map((text, column) => `<td${align(column)}>${escapeHtml(text)}</td>`).join('')}</tr>`)
    .join('\n');
  const caption = [options.caption, more].filter(Boolean).join(' · ');
  return `<table>${caption ? `<caption>${escapeHtml(caption)}</caption>` : ''}
<thead><tr>${head}</tr></thead>
<tbody>
${body}
</tbody></table>`;
}

/** The table as lines of text, columns two spaces apart. */
export function tableText(data: readonly Row[] | DataFrameLike, options: TableOptions = {}): string {
  const { columns, cells, numeric, more } = layOut(data, options);
  const widths = columns.map((name, column) => Math.max(name.length, ...cells.map((row) => row[column].length)));
  const line = (row: readonly string[]) =>
    row
      .map((text, column) => (numeric[column] ? text.padStart(widths[column]) : text.padEnd(widths[column])))
      .join('  ')
      .trimEnd();
  return [options.caption, line(columns), widths.map((width) => '-'.repeat(width)).join('  '), ...cells.map(line), more]
    .filter(Boolean)
    .join('\n');
}

function layOut(data: readonly Row[] | DataFrameLike, { columns: chosen, digits = 3, maxRows = 100 }: TableOptions) {
  const rows = 'columns' in data ? fromDataFrame(data) : data;
  const columns = chosen ?? [...new Set(rows.flatMap((row) => Object.keys(row)))];
  if (columns.length === 0)
    throw new Error('table: expected at least one row or named columns, got no rows. Name the columns for an empty table.');
  const shown = rows.slice(0, maxRows);
  // One column, one number of digits: whole numbers among fractions are written as fractions.
  const digitsOf = columns.map((name) => (shown.every((row) => typeof row[name] !== 'number' || Number.isInteger(row[name])) ? 0 : digits));
  const cells = shown.map((row) => columns.map((name, column) => format(row[name], digitsOf[column])));
  const numeric = columns.map((name) => shown.length > 0 && shown.every((row) => row[name] == null || typeof row[name] === 'number'));
  return { columns, cells, numeric, more: rows.length > maxRows ? `${rows.length - maxRows} more rows` : undefined };
}

function fromDataFrame({ columns, values }: DataFrameLike): Row[] {
  return (values as unknown[][]).map((row) => Object.fromEntries(columns.map((name, column) => [name, row[column]])));
}

function format(value: unknown, digits: number): string {
  if (value == null) return '';
  if (typeof value === 'number') return (Number.isFinite(value) ? value.toFixed(digits) : String(value)).replace('-', '−');
  return String(typeof value === 'object' ? JSON.stringify(value) : value).replace(/\s+/g, ' ');
}
