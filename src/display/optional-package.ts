/** Packages that only notebooks, the book and the report need: imported when first used, so that others need not install them. */
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';

/**
 * Imports `name`, or says what to install.
 *
 * @param purpose what cannot be done without it, as the start of a sentence.
 */
export async function optionalPackage<T>(name: string, purpose: string): Promise<T> {
  try {
    return (await import(name)) as T;
  } catch (error) {
    const code = (error as { code?: string }).code;
    if (code !== 'ERR_MODULE_NOT_FOUND' && code !== 'MODULE_NOT_FOUND') throw error;
    const installed = name
      .split('/')
      .slice(0, name.startsWith('@') ? 2 : 1)
      .join('/');
    throw new Error(missing(installed, purpose), { cause: error });
  }
}

/** The folder of a package whose files are read, not imported: beside this package, or in the project that runs. */
export function packageFolder(name: string, purpose: string): string {
  const roots = typeof __dirname === 'string' ? [__dirname, process.cwd()] : [process.cwd()];
  for (const root of roots) {
    try {
      return dirname(createRequire(join(root, 'noop.js')).resolve(`${name}/package.json`));
    } catch {
      // Looked for in the next place.
    }
  }
  throw new Error(missing(name, purpose));
}

const missing = (name: string, purpose: string) =>
  `${purpose} needs the package "${name}", which is not installed. Run "npm install ${name}" in your project.`;
