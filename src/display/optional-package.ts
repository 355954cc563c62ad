/** Packages that only notebooks, the book and the report need: imported when first used, so that others need not install them. */

/**
 * Imports `name`, or says what to install.
 *
 * @param purpose what cannot be done without it, as the start of a sentence.
 */
export async function optionalPackage<T>(name: string, purpose: string): Promise<T> {
  try {
    return (await import(name)) as T;
  } catch (error) {
    const missing = (error as { code?: string }).code;
    if (missing !== 'ERR_MODULE_NOT_FOUND' && missing !== 'MODULE_NOT_FOUND') throw error;
    throw new Error(`${purpose} needs the package "${name}", which is not installed. Run "npm install ${name}" in your project.`, {
      cause: error,
    });
  }
}
