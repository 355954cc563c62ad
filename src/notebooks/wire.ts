/**
 * Jupyter's messages on the wire: version 5.3, signed with HMAC-SHA256 (https://jupyter-client.readthedocs.io/en/latest/messaging.html).
 *
 * A message is the parts [identities ..., delimiter, signature, header, parent header, metadata, content]. Buffers after the content are not read.
 */
import { createHmac, randomUUID, timingSafeEqual } from 'node:crypto';

export interface Message {
  readonly header: { readonly msg_id: string; readonly msg_type: string };
  /** The request this message answers; without `msg_id` where there was none. */
  readonly parent: { readonly msg_id?: string };
  readonly content: Readonly<Record<string, unknown>>;
}

const DELIMITER = '<IDS|MSG>';

/** The parts of a request, ready to send, and the id its replies will name. */
export function encodeRequest(
  type: string,
  content: object,
  { key, session }: { readonly key: string; readonly session: string },
): { id: string; parts: string[] } {
  const id = randomUUID();
  const header = { msg_id: id, msg_type: type, session, username: 'search-e1', date: new Date().toISOString(), version: '5.3' };
  const body = [header, {}, {}, content].map((part) => JSON.stringify(part));
  return { id, parts: [DELIMITER, sign(key, body), ...body] };
}

/** Reads a message; throws when its signature does not hold. */
export function decodeMessage(parts: readonly Buffer[], key: string): Message {
  const delimiter = parts.findIndex((part) => part.toString() === DELIMITER);
  if (delimiter < 0 || parts.length < delimiter + 6)
    throw new Error(`expected a Jupyter message, got ${parts.length} parts without a complete one`);
  const signature = parts[delimiter + 1];
  const body = parts.slice(delimiter + 2, delimiter + 6);
  const expected = Buffer.from(sign(key, body));
  if (signature.length !== expected.length || !timingSafeEqual(signature, expected))
    throw new Error('a Jupyter message carries a wrong signature');
  const [header, parent, , content] = body.map((part) => JSON.parse(part.toString()));
  return { header, parent, content };
}

function sign(key: string, body: readonly (string | Buffer)[]): string {
  const hmac = createHmac('sha256', key);
  for (const part of body) hmac.update(part);
  return hmac.digest('hex');
}
