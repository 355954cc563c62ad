/** Which places Stryker leaves alone: the words of errors. What is thrown, and when, is mutated; how it is put is for the reader to judge. */
import { declareValuePlugin, PluginKind } from '@stryker-mutator/api/plugin';

const words = {
  shouldIgnore(path) {
    if (!path.isStringLiteral() && !path.isTemplateLiteral()) return undefined;
    const thrown = path.findParent((parent) => parent.isNewExpression() && /Error$/.test(parent.node.callee.name ?? ''));
    return thrown ? 'the words of an error' : undefined;
  },
};

export const strykerPlugins = [declareValuePlugin(PluginKind.Ignore, 'words-of-errors', words)];
