/** What a running cell publishes, gathered as nbformat stores it. */
import { type MimeBundle, type Output, splitText } from './notebook.js';
import type { Message } from './wire.js';

export interface OutputCollector {
  /** From now on, messages that answer request `id` belong to cell `cell`. */
  expect(id: string, cell: number): void;
  /** Takes a published message in; returns the cell it belongs to, or undefined where it changes no output. */
  receive(message: Message): number | undefined;
  outputs(cell: number): Output[];
}

/** Characters of each of a cell's streams that are kept: more would fill the memory, and no reader reads it. */
export const STREAM_LIMIT = 2_000_000;

interface Entry {
  output: Output;
  displayId?: string;
  /** A stream's text in the pieces it came in. */
  pieces?: string[];
}

/**
 * Collects outputs by the request they answer, so that what a cell publishes after its reply (timers, un-awaited promises) still counts as its own.
 *
 * Neighbouring texts of one stream are merged, up to `STREAM_LIMIT`; `update_display_data` replaces, in whichever cell, every output of that display id.
 */
export function outputCollector(): OutputCollector {
  const cellOf = new Map<string, number>();
  const collected = new Map<number, Entry[]>();
  const streamed = new Map<string, number>();
  const entries = (cell: number) => {
    const list = collected.get(cell) ?? [];
    collected.set(cell, list);
    return list;
  };
  return {
    expect: (id, cell) => void cellOf.set(id, cell),
    receive({ header, parent, content }) {
      const cell = cellOf.get(parent.msg_id ?? '');
      if (cell === undefined) return undefined;
      const displayId = (content.transient as { display_id?: string } | undefined)?.display_id;
      const bundle = {
        data: normalise(content.data as MimeBundle | undefined),
        metadata: (content.metadata ?? {}) as Record<string, unknown>,
      };
      const list = entries(cell);
      switch (header.msg_type) {
        case 'stream': {
          const { name, text } = content as { name: 'stdout' | 'stderr'; text: string };
          const before = streamed.get(`${cell} ${name}`) ?? 0;
          streamed.set(`${cell} ${name}`, before + text.length);
          const kept = text.slice(0, Math.max(0, STREAM_LIMIT - before));
          if (kept === '') return undefined;
          const last = list.at(-1);
          if (last?.pieces && last.output.output_type === 'stream' && last.output.name === name) last.pieces.push(kept);
          else list.push({ output: { output_type: 'stream', name, text: [] }, pieces: [kept] });
          return cell;
        }
        case 'display_data':
          list.push({ output: { output_type: 'display_data', ...bundle }, displayId });
          return cell;
        case 'execute_result':
          list.push({
            output: { output_type: 'execute_result', ...bundle, execution_count: content.execution_count as number },
            displayId,
          });
          return cell;
        case 'error': {
          const { ename = '', evalue = '', traceback = [] } = content as { ename?: string; evalue?: string; traceback?: string[] };
          list.push({ output: { output_type: 'error', ename, evalue, traceback } });
          return cell;
        }
        case 'update_display_data':
          for (const entry of [...collected.values()].flat()) {
            if (displayId !== undefined && entry.displayId === displayId) entry.output = { ...entry.output, ...bundle } as Output;
          }
          return cell;
        default:
          return undefined;
      }
    },
    outputs(cell) {
      const outputs = entries(cell).map(({ output, pieces }) =>
        pieces ? ({ ...output, text: splitText(pieces.join('')) } as Output) : output,
      );
      for (const name of ['stdout', 'stderr'] as const) {
        const left = (streamed.get(`${cell} ${name}`) ?? 0) - STREAM_LIMIT;
        if (left > 0) outputs.push({ output_type: 'stream', name, text: ['\n', `[${left} more characters were left out]\n`] });
      }
      return outputs;
    },
  };
}

/** Text by lines, as Jupyter saves it; JSON and base64 as they are. */
function normalise(data: MimeBundle = {}): MimeBundle {
  return Object.fromEntries(
    Object.entries(data).map(([type, value]) => [
      type,
      typeof value === 'string' && /^text\/|svg\+xml$/.test(type) ? splitText(value) : value,
    ]),
  );
}
