/** Reads vitest's JSON report and prints "PASSED FAILED"; a file that could not be collected counts as one failure, a missing report as well. */
import { existsSync, readFileSync } from 'node:fs';
import process from 'node:process';

const [path] = process.argv.slice(2);
if (!path || !existsSync(path)) {
  console.log('0 1');
} else {
  const report = JSON.parse(readFileSync(path, 'utf8'));
  const brokenFiles = report.testResults.filter(
    (file) => file.status === 'failed' && !file.assertionResults.some((test) => test.status === 'failed'),
  );
  console.log(`${report.numPassedTests} ${report.numFailedTests + brokenFiles.length}`);
}
