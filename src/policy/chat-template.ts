/**
 * Conversations as the text that a chat model was trained on: the folder's own Jinja template, rendered as Transformers' `apply_chat_template` does (`python-jinja.ts`).
 */
import { compile } from './python-jinja.js';

/** One message of a conversation. */
export interface ChatMessage {
  /** Who speaks. */
  readonly role: 'system' | 'user' | 'assistant' | 'tool';
  /** The text. */
  readonly content: string;
}

/** How a conversation is put into words. */
export interface ChatOptions {
  /** Whether the text ends with the beginning of the assistant's turn; default true. */
  readonly addGenerationPrompt?: boolean;
  /** More variables for the template, such as `tools`. */
  readonly variables?: Readonly<Record<string, unknown>>;
}

/** A conversation as the text that the model was trained on. */
export type RenderChat = (messages: readonly ChatMessage[], options?: ChatOptions) => string;

/**
 * Compiles a template once.
 *
 * @param specialTokens `bos_token`, `eos_token` and the like, by name
 * @throws Error where the template is none; the returned function throws where it refuses its messages (`raise_exception`), is not supported, or does not end
 *
 * @example
 * ```ts
 * import { chatTemplate } from 'search-e1/policy';
 *
 * const render = chatTemplate('{% for m in messages %}<{{ m.role }}> {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}');
 * render([{ role: 'user', content: 'Who is Ada?' }]); // '<user> Who is Ada?\n<assistant>'
 * ```
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
