/** Starting threads in a browser: Web Workers, which share memory where the page is cross-origin isolated. */

export interface Thread {
  end(): void;
}

interface WebWorker {
  postMessage(data: unknown): void;
  terminate(): void;
  onerror: ((event: { readonly message?: string; preventDefault(): void }) => void) | null;
}

const scope = globalThis as unknown as {
  readonly crossOriginIsolated?: boolean;
  readonly navigator?: { readonly hardwareConcurrency?: number };
  readonly Worker?: new (address: string) => WebWorker;
  readonly document?: unknown;
};

export const processors = (): number => (noThreads() ? 1 : (scope.navigator?.hardwareConcurrency ?? 1));

/** The page itself may not wait for a thread, and memory is shared on an isolated page alone. */
export function noThreads(): string | undefined {
  if (scope.document !== undefined) return 'the page itself may not wait for others; run this in a Web Worker for more';
  if (!scope.crossOriginIsolated)
    return 'the page is not cross-origin isolated; serve it with Cross-Origin-Opener-Policy: same-origin and Cross-Origin-Embedder-Policy: require-corp for more';
  return scope.Worker ? undefined : 'this browser starts no workers from a worker';
}

export function startThread(program: string, data: unknown, onError: (error: Error) => void): Thread {
  const Worker = scope.Worker as NonNullable<typeof scope.Worker>;
  const address = URL.createObjectURL(new Blob([`onmessage = ({ data }) => (${program})(data)`], { type: 'text/javascript' }));
  const worker = new Worker(address);
  worker.onerror = (event) => {
    event.preventDefault();
    onError(new Error(event.message ?? 'a content security policy forbids workers from blob: addresses'));
  };
  worker.postMessage(data);
  return {
    end() {
      worker.terminate();
      URL.revokeObjectURL(address);
    },
  };
}

export const warn = (text: string): void => console.warn(text);

export const allowRelaxedSimd = (): void => undefined;
