/** Resolves in a later turn of the event loop. A browser has no `setImmediate`, and makes timers wait four milliseconds: a message does not. */
export const laterTurn = (): Promise<void> =>
  new Promise((done) => {
    if (globalThis.setImmediate) {
      globalThis.setImmediate(done);
      return;
    }
    const { port1, port2 } = new MessageChannel() as unknown as Record<'port1' | 'port2', Port>;
    port1.onmessage = () => {
      port1.close();
      done();
    };
    port2.postMessage(null);
  });

/** A browser's, which Node's types do not know in full. */
interface Port {
  onmessage: (() => void) | null;
  postMessage(message: null): void;
  close(): void;
}
