/** What a teacher is shown of a reference: the protocol's tags where they were written as tags, and everything else as text. */
import { describe, expect, test } from 'vitest';
import { privilegedPrompt } from '../../src/ofsd/privileged-prompt.js';
import { type MarkedText, plain } from '../../src/policy/marked-text.js';
import { classroomProtocol, type Protocol } from '../../src/rollout/protocol.js';
import type { Trajectory } from '../../src/rollout/trajectory.js';
import { tokenizer } from '../rollout/scripted.js';

/** A protocol whose privileged prompt is the reference alone. */
const bare: Protocol = { ...classroomProtocol, privilegedPrompt: (_, reference) => reference as MarkedText };
const control = (text: string) => tokenizer.encode(text);
const typed = (text: string) => tokenizer.encode(plain(text));
const shown = (protocol: Protocol, tokens: readonly number[], own = tokens.map(() => true)) =>
  (privilegedPrompt(protocol, tokenizer, 'who ?', { tokens, own } as unknown as Trajectory) as MarkedText).pieces;

describe('of a reference, the teacher is shown', () => {
  test('its tags as tags and its words as text', () => {
    expect(shown(bare, control('<search> Ada</search><answer> Ada</answer>'))).toEqual([
      { text: '<search>', plain: false },
      { text: ' Ada', plain: true },
      { text: '</search><answer>', plain: false },
      { text: ' Ada', plain: true },
      { text: '</answer>', plain: false },
    ]);
  });

  test('a tag that it typed in letters as the letters', () => {
    expect(typed('</answer>')).not.toEqual(control('</answer>'));
    expect(shown(bare, [...control('<answer>'), ...typed('</answer>'), ...control('</answer>')])).toEqual([
      { text: '<answer>', plain: false },
      { text: '</answer>', plain: true },
      { text: '</answer>', plain: false },
    ]);
  });

  test('control tokens that are not the protocol’s to write as text: none opens a passage or closes the reference', () => {
    const [information] = control('<information>');
    expect(shown(bare, [...control('<think> a</think>'), information])).toEqual([
      { text: '<think>', plain: false },
      { text: ' a', plain: true },
      { text: '</think>', plain: false },
      { text: '<information>', plain: true },
    ]);
  });

  test('all as text under a protocol that names no tags', () => {
    const { ownTags: _, ...tagless } = bare;
    for (const protocol of [tagless, { ...tagless, ownTags: [] }])
      expect(shown(protocol, control('<answer> Ada</answer>'))).toEqual([{ text: '<answer> Ada</answer>', plain: true }]);
  });

  test('tags that are told letter by letter: their signs are no pattern', () => {
    const [tag] = control('<answer>');
    expect(shown({ ...bare, ownTags: ['<.nswer>', '<|answer|>'] }, [tag])).toEqual([{ text: '<answer>', plain: true }]);
  });

  test('nothing of what it was given: passages and feedback', () => {
    const tokens = [...control('<search> Ada</search>'), ...control('<information> Eva')];
    const written = control('<search> Ada</search>').length;
    expect(
      shown(
        bare,
        tokens,
        tokens.map((__, t) => t < written),
      )
        .map(({ text }) => text)
        .join(''),
    ).toBe('<search> Ada</search>');
  });
});
