/**
 * Conversations as the text that a chat model was trained on: the folder's own Jinja template, rendered as Transformers' `apply_chat_template` does (`python-jinja.ts`).
 */
import { MarkedText } from './marked-text.js';
import { compile } from './python-jinja.js';

export interface ChatMessage {
  readonly role: 'system' | 'user' | 'assistant' | 'tool';
  readonly content: string;
}

export interface ChatOptions {
  /** Whether the text ends with the beginning of the assistant's turn; default true. */
  readonly addGenerationPrompt?: boolean;
  /** More variables for the template, such as `tools`. */
  readonly variables?: Readonly<Record<string, unknown>>;
}

export type RenderChat = (messages: readonly ChatMessage[], options?: ChatOptions) => string;

/**
 * Compiles a template once.
 *
 * @param specialTokens `bos_token`, `eos_token` and the like, by name
 * @throws Error where the template is none; the returned function throws where it refuses its messages (`raise_exception`), is not supported, or does not end
 */
export function chatTemplate(source: string, specialTokens: Readonly<Record<string, string>> = {}): RenderChat {
  let render: ReturnType<typeof compile>;
  try {
    render = compile(source);
  } catch (error) {
    throw new Error(`the chat template is not valid Jinja: ${(error as Error).message}`);
  }
  return (messages, { addGenerationPrompt = true, variables = {} } = {}) =>
    render({
      messages,
      tools: null,
      documents: null,
      add_generation_prompt: addGenerationPrompt,
      ...specialTokens,
      ...variables,
    });
}

/**
 * Messages with text from outside as marked text: the template sees a placeholder in its place, so that no such text can steer it or become one of its control tokens.
 *
 * @throws Error where the template does not show a placeholder as it is
 */
export function renderMarked(
  renderChat: RenderChat,
  messages: readonly { readonly role: ChatMessage['role']; readonly content: MarkedText }[],
  options?: ChatOptions,
): MarkedText {
  const outside: string[] = [];
  const rendered = renderChat(
    messages.map(({ role, content }) => ({
      role,
      content: content.pieces.map(({ text, plain }) => (plain ? `\ue000${outside.push(text) - 1}\ue001` : text)).join(''),
    })),
    options,
  );
  const parts = rendered.split(/\ue000(\d+)\ue001/);
  const shown = new Set(parts.filter((_, i) => i % 2 === 1));
  if (outside.some((_, i) => !shown.has(`${i}`)))
    throw new Error(
      "the chat template changes a message's text or leaves it out: what came from outside cannot be told from the template's own words",
    );
  return new MarkedText(
    parts.map((text, i) => (i % 2 === 0 ? { text, plain: false } : { text: outside[Number(text)] ?? '', plain: true })),
  );
}
