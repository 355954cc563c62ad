/** Notebooks without Jupyter: run them, and make a book of them. */
export { type Book, type BookChapter, type BookOptions, type BookProgress, buildBook } from './book.js';
export { type Cell, type CodeCell, type Notebook, type Output, readNotebook, type TextCell, writeNotebook } from './notebook.js';
export { describeBook, reportProgress } from './report-progress.js';
export { type CellProgress, type FailureKind, findKernelSpec, NotebookError, type RunOptions, runNotebook } from './runner.js';
