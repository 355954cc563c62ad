/** A plugin of the bundler, for the package and for programs that tests bundle. */
import * as tf from '@tensorflow/tfjs-core';

/** Modules of TensorFlow.js that its package does not offer. */
export const isInternal = /^@tensorflow\/tfjs-core\/dist\//;

/**
 * TensorFlow.js registers the gradients of its operations in a file that Node cannot import by itself (ECMAScript without endings). It is taken into the bundle;
 * whatever of what it stands on is public stays the package's, so that there is one of it.
 */
export const gradients = {
  name: 'gradients-of-tensorflow-js',
  transform(code: string, id: string) {
    if (!id.includes('tfjs-core/dist/')) return null;
    return code
      .replace(/^import \{ ENGINE \} from '[^']*';$/m, "import { engine } from '@tensorflow/tfjs-core';\nconst ENGINE = engine();")
      .replace(/^import \* as util from '[^']*\/util';$/m, "import { util } from '@tensorflow/tfjs-core';")
      .replace(/^import \{([^}]*)\} from '(\.[^']*)';$/gm, (_, list: string, from: string) => {
        const isPublic = (name: string) => name.trim().split(' as ')[0] in tf;
        const [known, inner] = [true, false].map((wanted) => list.split(',').filter((name: string) => isPublic(name) === wanted));
        const lines = [
          known.length && `import {${known}} from '@tensorflow/tfjs-core';`,
          inner.length && `import {${inner}} from '${from}';`,
        ];
        return lines.filter(Boolean).join(' ');
      });
  },
};
