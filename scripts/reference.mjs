/**
 * `npm run reference`: what the package's docstrings say, a Markdown file a subpath (TypeDoc). `npm start` makes pages of the book
 * of them. They go to node_modules/.cache/reference, or to the folder that is named.
 */
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import process from 'node:process';
import { fileURLToPath } from 'node:url';
import { Application } from 'typedoc';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
/** Writes the files and returns their folder. */
export async function reference(out = join(root, 'node_modules', '.cache', 'reference')) {
  const { exports } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  const names = Object.keys(exports)
    .filter((path) => path !== '.' && !path.endsWith('.json'))
    .map((path) => path.slice(2));
  const application = await Application.bootstrapWithPlugins({
    entryPoints: names.map((name) => join(root, 'src', name, 'index.ts')),
    tsconfig: join(root, 'tsconfig.json'),
    out,
    plugin: ['typedoc-plugin-markdown'],
    skipErrorChecking: true, // `npm run check` does that
    excludeExternals: true,
    excludePrivate: true,
    disableSources: true,
    readme: 'none',
    logLevel: 'Error',
    sort: ['kind', 'alphabetical'],
    kindSortOrder: ['Function', 'Class', 'Variable', 'Interface', 'TypeAlias', 'Reference'],
    groupOrder: ['Functions', 'Classes', 'Variables', 'Interfaces', 'Type Aliases', '*'],
    outputFileStrategy: 'modules',
    hidePageHeader: true,
    hideBreadcrumbs: true,
    useCodeBlocks: true,
    expandParameters: true,
    parametersFormat: 'table',
    interfacePropertiesFormat: 'table',
    classPropertiesFormat: 'table',
    typeDeclarationFormat: 'table',
  });
  const project = await application.convert();
  if (!project) throw new Error('TypeDoc could not read the sources; `npm run check` says why');
  rmSync(out, { recursive: true, force: true });
  await application.generateOutputs(project);
  rmSync(join(out, 'README.md'), { force: true }); // the book has contents of its own
  const texts = new Map(names.map((name) => [name, readFileSync(join(out, `${name}.md`), 'utf8')]));
  for (const [name, text] of texts) writeFileSync(join(out, `${name}.md`), page(name, text, texts));
  return out;
}

/** TypeDoc's page with the subpath as its title, a screen that says what there is, one heading for all errors, and links to the ids that the book gives headings. */
function page(name, text, texts) {
  const body = text
    .replace(/^# .*/, `# search-e1/${name}`)
    .replace(/\]\((?:([\w-]+)\.md)?#(\w+)-\d+\)/g, (_, file, id) => {
      const twice = headings(texts.get(file ?? name)).filter((heading) => slug(heading) === id).length > 1;
      return `](${file ? `${file}.md` : ''}#${id}${twice ? '-2' : ''})`; // a function and a type of one name: the type stands below
    })
    .replace(/(?<=^#### Throws$[^#]*)^#### Throws\n/gm, '');
  const at = body.search(/^## /m);
  return `${body.slice(0, at)}${overview(body.slice(at))}\n${body.slice(at)}`;
}

/** What can be called, each with its first sentence; the names of the types in one line. */
function overview(body) {
  const taken = new Map();
  const entries = body.split(/^(?=#{2,3} )/m).filter((section) => section.startsWith('### '));
  const linked = entries.map((section) => {
    const [heading] = headings(section);
    const copy = (taken.get(slug(heading)) ?? 0) + 1;
    taken.set(slug(heading), copy);
    const sentence = section
      .replace(/^### .*|^```[\s\S]*?^```/gm, '')
      .trim()
      .split(/\n\n|(?<=[.:]) (?=[A-Z])/)[0]
      .replace(/\s+/g, ' ');
    return {
      called: heading.endsWith('()'),
      link: `[\`${heading.replace(/\(\)$/, '')}\`](#${slug(heading)}${copy > 1 ? `-${copy}` : ''})`,
      sentence,
    };
  });
  const rows = linked
    .filter(({ called }) => called)
    .map(({ link, sentence }) => (/^([#|*-]|$)/.test(sentence) ? `- ${link}` : `- ${link}: ${sentence}`));
  const others = linked.filter(({ called }) => !called).map(({ link }) => link);
  return [...rows, ...(others.length ? [`\nClasses, values and types: ${others.join(', ')}`] : []), ''].join('\n');
}

const headings = (text) => [...text.matchAll(/^#{1,4} (.*)$/gm)].map(([, heading]) => heading);
const slug = (heading) =>
  heading
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '-')
    .replace(/^-+|-+$/g, '');

if (process.argv[1] && resolve(process.argv[1]) === fileURLToPath(import.meta.url)) {
  console.log(await reference(process.argv[2] && resolve(process.argv[2])));
}
