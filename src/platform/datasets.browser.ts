/** Where the shipped data lies for a browser tab: the address that the page was told. */

let base: string | undefined;

/** Says where the package's `datasets` folder is served. */
export function datasetsAt(address: string): void {
  base = address.replace(/\/+$/, '');
}

export function datasetPath(...parts: readonly string[]): string {
  if (base === undefined)
    throw new Error(
      `datasets/${parts.join('/')}: a browser tab has no package folder; serve the package's datasets and say where: datasetsAt('/datasets')`,
    );
  return [base, ...parts].join('/');
}
