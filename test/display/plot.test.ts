import { createRequire } from 'node:module';
import { describe, expect, it } from 'vitest';
import { forPlotly, PALETTE, PLOTLY_CONFIG, plot, type Trace } from '../../src/display/figure.js';
import { describe as inWords } from '../../src/display/show-plot.js';
import { figurePng, figureSvg } from '../../src/display/still-picture.js';

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

describe('what a plot takes', () => {
  it.each(['America/New_York', 'Asia/Tokyo', 'UTC'])('shows a date as the clock in %s shows it', (zone) => {
    const before = process.env.TZ;
    process.env.TZ = zone;
    try {
      const dates = [new Date(2026, 0, 31, 23, 5), new Date(2026, 6, 1, 0, 0, 7, 8), new Date(Number.NaN)];
      expect(plot([{ x: dates, y: [1, 2, 3] }], titled).data[0].x).toEqual(['2026-01-31 23:05:00', '2026-07-01 00:00:07.008', null]);
    } finally {
      if (before === undefined) delete process.env.TZ;
      else process.env.TZ = before;
    }
  });

  it('takes titles as text wherever Plotly has one, and leaves what is the caller’s own', () => {
    const bar = { colorbar: { title: 'reward (0 to 1)' } };
    const figure = plot(
      [
        {
          y: [1],
          marker: { ...bar, line: bar },
          ...bar,
          legendgrouptitle: 'arms',
          customdata: [{ title: 'x' }],
          meta: { title: 'x' },
          name: 'a',
        },
        { type: 'pie', values: [1], title: 'share', name: 'b' },
      ],
      { ...titled, title: 'Runs', legend: { title: 'arm' }, coloraxis: bar, annotations: [{ text: 'here' }] },
    );
    const text = { title: { text: 'reward (0 to 1)' } };
    expect(figure.data[0]).toMatchObject({
      marker: { colorbar: text, line: { colorbar: text } },
      colorbar: text,
      legendgrouptitle: { text: 'arms' },
    });
    expect(figure.data[0]).toMatchObject({ customdata: [{ title: 'x' }], meta: { title: 'x' } });
    expect(figure.data[1]).toMatchObject({ title: { text: 'share' } });
    expect(figure.layout).toMatchObject({ title: { text: 'Runs' }, legend: { title: { text: 'arm' } }, coloraxis: { colorbar: text } });
  });

  it('takes sets, series and big integers as lists of numbers, and says what it cannot take', () => {
    const { Series } = createRequire(import.meta.url)('danfojs-node');
    expect(plot([{ x: new Set([1, 2]), y: new Series([3, 4]), ids: [5n, 2n ** 70n] }], titled).data[0]).toEqual({
      x: [1, 2],
      y: [3, 4],
      ids: [5, '1180591620717411303424'],
    });
    const circle: Record<string, unknown> = {};
    circle.self = circle;
    const bad: [Trace, string][] = [
      [{ y: new Map([[1, 2]]) }, 'as data[0].y, got a Map'],
      [{ y: [1, () => 2] }, 'as data[0].y[1], got a function'],
      [{ y: { dataSync: () => [] } }, 'got a tensor'],
      [{ y: [1], meta: circle }, 'an object that holds itself'],
    ];
    for (const [trace, text] of bad) expect(() => plot([trace], titled)).toThrow(text);
    const shared = [1, 2];
    expect(() => plot([{ x: shared, y: shared }], titled)).not.toThrow();
  });
});

/** What would act in Plotly, in a terminal or in SVG. */
const HOSTILE = 'a<b>c</b> <a href="javascript:x">&lt; $x^2$ \u001b[31m\u0000\u202e\ud800\uffff';

describe('labels are text', () => {
  const hostile = plot([{ y: [1], x: [HOSTILE], name: HOSTILE, text: [HOSTILE], hovertemplate: '%{x}<extra></extra>' }], {
    ...titled,
    title: `${HOSTILE}\nsecond`,
    xaxis: { title: HOSTILE, ticktext: [HOSTILE], tickformat: '>5' },
    annotations: [{ text: HOSTILE }],
    showlegend: true,
  });

  it('in what Plotly is given: no markup but line breaks, no formulas, no control character', () => {
    const { data, layout } = JSON.parse(JSON.stringify(forPlotly(hostile)));
    const labels = [
      data[0].x[0],
      data[0].name,
      data[0].text[0],
      layout.title.text,
      layout.xaxis.title.text,
      layout.xaxis.ticktext[0],
      layout.annotations[0].text,
    ];
    for (const label of labels) {
      expect(label.replace('<br>second', '')).toBe(
        'a&#60;b&#62;c&#60;/b&#62; &#60;a href="javascript:x"&#62;&#38;lt; $x^2$ \\x1b[31m\\x00\\u202e\\ud800\\uffff',
      );
    }
    expect(layout.title.text).toMatch(/<br>second$/);
    expect(PLOTLY_CONFIG.typesetMath).toBe(false);
    expect(data[0].hovertemplate).toBe('%{x}<extra></extra>');
    expect(layout.xaxis.tickformat).toBe('>5');
    // The figure itself holds what was given, so that it can be shown twice.
    expect(hostile.data[0].name).toBe(HOSTILE);
  });

  it('and markup that an author writes on purpose stays, but steers nothing and breaks no picture', async () => {
    const template = `<b>%{text}</b>${HOSTILE.slice(-4)}`;
    const figure = plot([{ y: [1], text: ['a'], mode: 'text', texttemplate: template }], titled);
    expect(forPlotly(figure).data[0].texttemplate).toBe('<b>%{text}</b>\\x00\\u202e\\ud800\\uffff');
    expect(await figureSvg(figure)).toMatch(/bold[^>]*>a</);
  });

  it('in a still picture, which shows them letter by letter', async () => {
    const drawn = await figureSvg(hostile);
    expect(drawn).not.toMatch(/<a\b|font-weight: ?bold/);
    // The title, its axis, the tick, the label beside the point, the annotation and the legend.
    const shown = drawn
      .replace(/&(#60|lt);/g, '<')
      .replace(/&(#62|gt);/g, '>')
      .split('a<b>c</b> <a href="javascript:x">&amp;lt; $x^2$');
    expect(shown.length - 1).toBeGreaterThanOrEqual(4);
    expect((await figurePng(hostile)).length).toBeGreaterThan(1000);
  });

  it('in words, on one line', () => {
    expect(inWords(plot([{ y: [1], name: 'a\nb<i>' }], { ...titled, title: 'x\u001b[2J' }))).toBe(
      'Plot "x\\x1b[2J": exact match (0 to 1) over step; traces: a b<i>',
    );
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
    const cells = (text: string) => plot([{ type: 'table', header: { values: ['h'] }, cells: { values: [[text]] } }]);
    await expect(figurePng(cells('a < b'))).rejects.toThrow('show its rows with table()');
    expect((await figurePng(cells('a'))).length).toBeGreaterThan(1000);
  });
});
