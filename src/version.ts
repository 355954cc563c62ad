/** The package's version, for records and `--version`; a test holds it to package.json. */
export const version = '0.1.0';
