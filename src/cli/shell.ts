/** Commands that are printed for the reader to run, as they can be pasted into a shell where the package is installed. */

/** `npx search-e1 ...args`, each argument quoted where a shell would take it apart. */
export const shellCommand = (...args: readonly (string | number)[]): string =>
  ['npx', 'search-e1', ...args.map((argument) => quoted(String(argument)))].join(' ');

function quoted(argument: string): string {
  if (/^[\p{L}\p{N}@%+=:,./_-]+$/u.test(argument)) return argument;
  if (process.platform === 'win32') return `"${argument.replaceAll('"', '\\"')}"`;
  return `'${argument.replaceAll("'", `'\\''`)}'`;
}
