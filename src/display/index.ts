/**
 * What notebooks show: plots, tables, trajectories, progress; `import { showPlot } from 'search-e1/display'`.
 *
 * @module
 */
export { type Bundle, type BundleMetadata, escapeHtml, inNotebook, type LiveOutput, liveOutput, show, showHtml } from './bundle.js';
export { type Figure, type Layout, PALETTE, plot, type Trace } from './figure.js';
export { interruptSignal } from './interrupt.js';
export { type LivePlot, livePlot } from './live-plot.js';
export { type ModelFit, machineText, modelFits, showMachine } from './machine.js';
export { duration, type Progress, type ProgressOptions, progress, tracked } from './progress.js';
export { showPlot } from './show-plot.js';
export { figurePng, type PngOptions } from './still-picture.js';
export { type DataFrameLike, type Row, type TableOptions, table, tableHtml, tableText } from './table.js';
export {
  type Sibling,
  showSiblings,
  showTrajectory,
  siblingsHtml,
  type TokenValues,
  type TrajectoryOptions,
  trajectoryHtml,
  trajectoryText,
} from './trajectory.js';
