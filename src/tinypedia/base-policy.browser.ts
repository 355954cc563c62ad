/** The committed base policy, opened from where the page serves it. Training one writes a folder, which a browser tab has not. */
import { datasetPath } from '../platform/datasets.js';
import { noDisk } from '../platform/no-disk.js';

export const basePolicyFolder = (): string => datasetPath('tinypedia', 'base-policy');

export const trainBasePolicy = async (): Promise<never> => noDisk('trainBasePolicy');

export const resumeBasePolicy = async (): Promise<never> => noDisk('resumeBasePolicy');
