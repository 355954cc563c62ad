#!/usr/bin/env node
/** `search-e1`: the command line, one file a command. */
import { Command } from 'commander';
import { version } from '../version.js';

const program = new Command('search-e1').description('Search-E1: a language model learns to search and distils itself').version(version);

program.parseAsync().catch((error: unknown) => {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
});
