/** Conversations with text from outside in them. */
import type { ChatMessage, ChatOptions, RenderChat } from './chat-template.js';
import { MarkedText } from './marked-text.js';

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
