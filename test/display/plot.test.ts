import { createRequire } from 'node:module';
import { describe, expect, it } from 'vitest';
import { PALETTE, plot } from '../../src/display/figure.js';
import { figurePng } from '../../src/display/still-picture.js';

const titled = { xaxis: 'step', yaxis: 'exact match (0 to 1)' };

describe('plot', () => {
  it('refuses an axis without a title, and says which', () => {
    expect(() => plot([{ y: [1, 2] }], { yaxis: 'reward (0 to 1)' })).toThrow('xaxis has no title');
    expect(() => plot([{ y: [1, 2] }], { ...titled, yaxis: { title: { text: '  ' } } })).toThrow('yaxis has no title');
    expect(() => plot([{ y: [1] }, { y: [2], yaxis: 'y2' }], { ...titled, showlegend: false })).toThrow('yaxis2 has no title');
    expect(() => plot([{ type: 'pie', values: [1, 2] }])).not.toThrow();
    expect(() => plot([])).toThrow('at least one trace');
  });

  it('shows a legend for several traces and wants their names', () => {
    expect(plot([{ y: [1] }], titled).layout.showlegend).toBe(false);
    expect(plot([{ y: [1], name: 'a' }, { y: [2], name: 'b' }], titled).layout.showlegend).toBe(true); // biome-ignore format: one line
    expect(() => plot([{ y: [1], name: 'a' }, { y: [2] }], titled)).toThrow('trace 2 of 2 has no name'); // biome-ignore format: one line
  });

  it('is JSON all through: typed arrays become arrays, what is no number a gap', () => {
    const figure = plot([{ x: Int32Array.of(1, 2), y: Float32Array.of(0.5, Number.NaN), name: undefined }], titled);
    expect(figure.data).toEqual([{ x: [1, 2], y: [0.5, null] }]);
    expect(JSON.parse(JSON.stringify(figure))).toEqual(figure);
    expect(figure.layout).toMatchObject({ colorway: PALETTE, paper_bgcolor: '#fff', xaxis: { title: { text: 'step' } } });
  });

  it('keeps what the caller set', () => {
    const figure = plot([{ y: [1] }], { ...titled, width: 300, yaxis: { title: 'loss (nats)', type: 'log', gridcolor: 'red' } });
    expect(figure.layout).toMatchObject({
      width: 300,
      height: 420,
      yaxis: { title: { text: 'loss (nats)' }, type: 'log', gridcolor: 'red' },
    });
  });
});

describe('a still picture', () => {
  const { Resvg } = createRequire(import.meta.url)('@resvg/resvg-js');
  const inkIn = (png: Uint8Array, [left, top, right, bottom]: number[]) => {
    // resvg decodes the picture: an SVG that shows nothing else.
    const [width, height] = [
      new DataView(png.buffer, png.byteOffset).getUint32(16),
      new DataView(png.buffer, png.byteOffset).getUint32(20),
    ];
    const href = `data:image/png;base64,${Buffer.from(png).toString('base64')}`;
    const { pixels } = new Resvg(
      `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}"><image width="${width}" height="${height}" href="${href}"/></svg>`,
    ).render();
    let ink = 0;
    for (let y = top * height; y < bottom * height; y++) {
      for (let x = left * width; x < right * width; x++) if (pixels[(Math.floor(y) * width + Math.floor(x)) * 4] < 160) ink++;
    }
    return { ink, width, height };
  };

  it('has the size asked for, a title, tick labels and a whole legend, with no font but the one it brings', async () => {
    const names = ['GRPO', 'a trace with quite a long name, the last letter of which is a W'];
    const figure = plot(names.map((name, i) => ({ y: [i, 1, 2], name })), { ...titled, title: 'Title' }); // biome-ignore format: one line
    const png = await figurePng(figure);
    expect(Buffer.from(png.subarray(1, 4)).toString()).toBe('PNG');
    const all = inkIn(png, [0, 0, 1, 1]);
    expect(all).toMatchObject({ width: 720, height: 420 });
    const titles = { title: [0.4, 0, 0.6, 0.13], yTitle: [0, 0.2, 0.045, 0.85], xTitle: [0.1, 0.92, 0.6, 1] };
    for (const [name, area] of Object.entries(titles)) expect(inkIn(png, area).ink, name).toBeGreaterThan(30);
    // Nothing runs out of the picture: the rim is white.
    expect(inkIn(png, [0.99, 0, 1, 1]).ink).toBe(0);
  });

  it('is the same picture every time', async () => {
    const figure = plot([{ type: 'bar', x: ['NQ', 'HotpotQA'], y: [0.3, 0.4] }], titled);
    expect(Buffer.compare(await figurePng(figure), await figurePng(figure))).toBe(0);
  });

  it('says so when a trace cannot be drawn', async () => {
    await expect(figurePng(plot([{ type: 'heatmap', z: [[1, 2]] }], titled))).rejects.toThrow('SVG traces only');
    expect((await figurePng(plot([{ y: [1] }], titled))).length).toBeGreaterThan(1000);
  });
});
