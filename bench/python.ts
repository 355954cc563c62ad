/** The peers' Python: a virtual environment of the bench's own, made from `requirements.txt` the first time. */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** The environment's interpreter. Null, with the reason said, where there is no Python 3 or the packages cannot be installed. */
export function peerPython(folder: string, say: (text: string) => void): string | null {
  const environment = join(folder, '.venv');
  const python = process.platform === 'win32' ? join(environment, 'Scripts', 'python.exe') : join(environment, 'bin', 'python');
  const requirements = join(folder, 'requirements.txt');
  const installed = join(environment, 'installed.txt');
  const wanted = readFileSync(requirements, 'utf8');
  if (existsSync(installed) && readFileSync(installed, 'utf8') === wanted) return python;
  const system = ['python3', 'python'].find(
    (name) => spawnSync(name, ['-c', 'import sys, venv; sys.exit(sys.version_info < (3, 10))']).status === 0,
  );
  if (!system) {
    say('no Python 3.10 or newer with venv: ours is measured alone, unchecked against the peers');
    return null;
  }
  say('making bench/.venv with PyTorch, Transformers, PEFT and TRL; once, some minutes');
  for (const [program, ...args] of [
    [system, '-m', 'venv', environment],
    [python, '-m', 'pip', 'install', '--quiet', '--requirement', requirements],
  ]) {
    const { status, stderr, error } = spawnSync(program, args, { encoding: 'utf8', stdio: ['ignore', 'ignore', 'pipe'] });
    if (status === 0) continue;
    rmSync(installed, { force: true });
    say(
      `${args.slice(0, 3).join(' ')} failed: ${(error?.message ?? stderr).trim().split('\n').at(-1)}; ours is measured alone, unchecked against the peers`,
    );
    return null;
  }
  writeFileSync(installed, wanted);
  return python;
}
