/**
 * An episode on a terminal while it happens: own text by its tag's colour, what the environment put in dimmed.
 *
 * Tags may be spread over several tokens, and characters too: text that could still become a tag or a character is held back until it is clear.
 */
import { styleText } from 'node:util';
import { printable } from '../display/printable.js';
import type { Engine } from '../engines/engine.js';
import type { Tokenizer } from '../policy/tokenizer.js';

export interface EpisodeWriter {
  /** The policy wrote a token. */
  own(token: number): void;
  /** The environment put tokens in. */
  shown(tokens: readonly number[]): void;
  /** Nothing more comes. */
  end(): void;
}

const TAGS = ['think', 'search', 'answer'] as const;
type Tag = (typeof TAGS)[number];
const COLOURS = { think: 'magenta', search: 'cyan', answer: 'green' } as const;
const WHOLE_TAG = /^<(\/?)(think|search|answer)>/;
const ALL_TAGS = TAGS.flatMap((tag) => [`<${tag}>`, `</${tag}>`]);

/** Writes pieces of printable text as soon as they are certain. */
export function writeEpisode(
  tokenizer: Pick<Tokenizer, 'decode' | 'stream'>,
  write: (text: string) => void,
  colour: boolean,
): EpisodeWriter {
  let stream = tokenizer.stream();
  let held = '';
  let inside: Tag | undefined;
  let lineStart = true;

  const put = (text: string, style?: Parameters<typeof styleText>[0]) => {
    if (text === '') return;
    const safe = printable(text);
    write(colour && style ? styleText(style, safe, { validateStream: false }) : safe);
    lineStart = safe.endsWith('\n');
  };
  const freshLine = () => {
    if (!lineStart) put('\n');
  };

  /** Writes what is certain of the held text; everything when `last`. */
  const release = (last: boolean) => {
    while (held !== '') {
      const at = held.indexOf('<');
      if (at !== 0) {
        const plain = at < 0 ? held : held.slice(0, at);
        put(plain, inside && COLOURS[inside]);
        held = held.slice(plain.length);
        continue;
      }
      const match = WHOLE_TAG.exec(held);
      if (match) {
        const [whole, closing, tag] = match;
        if (!closing) freshLine();
        put(whole, ['bold', COLOURS[tag as Tag]]);
        inside = closing ? undefined : (tag as Tag);
        held = held.slice(whole.length);
      } else if (!last && ALL_TAGS.some((tag) => tag.startsWith(held))) return;
      else {
        put('<', inside && COLOURS[inside]);
        held = held.slice(1);
      }
    }
  };
  const flushTokens = () => {
    held += stream.end();
    stream = tokenizer.stream();
  };

  return {
    own(token) {
      held += stream.push(token);
      release(false);
    },
    shown(given) {
      flushTokens();
      release(true);
      inside = undefined;
      freshLine();
      put(tokenizer.decode(given), 'dim');
      freshLine();
    },
    end() {
      flushTokens();
      release(true);
      freshLine();
    },
  };
}

/** The engine, with `writer` told of every token that is sampled or put in. For one sequence at a time. */
export function listenedTo(engine: Engine, writer: Pick<EpisodeWriter, 'own' | 'shown'>): Engine {
  return {
    ...engine,
    sample: (prompts, options) =>
      engine.sample(prompts, {
        ...options,
        async onToken(sequence, token) {
          writer.own(token);
          const reply = (await options.onToken?.(sequence, token)) ?? 'continue';
          if (typeof reply === 'object') writer.shown('takeBack' in reply ? reply.shown : reply);
          return reply;
        },
      }),
  };
}
