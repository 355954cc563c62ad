/** The words of the protocols, and what a turn's own text asks for. */
import { describe, expect, test } from 'vitest';
import { classroomProtocol, endsTurn, parseAction, SEARCH_FAILED } from '../../src/rollout/protocol.js';
import { searchR1Instruction, searchR1Protocol } from '../../src/rollout/search-r1.js';

const passage = (title: string, text: string) => ({ id: title, title, text });

test('the classroom puts a question, shows passages side by side and says what failed in tags of one token', () => {
  const { name, prompt, privilegedPrompt, observation, invalidFeedback, ownTags } = classroomProtocol;
  expect(name).toBe('classroom');
  expect(String(prompt('who ?'))).toBe('<question> who ?</question>');
  expect(String(privilegedPrompt('who ?', '<answer> Ada</answer>'))).toBe(
    '<question> who ?</question><reference><answer> Ada</answer></reference>',
  );
  expect(String(observation([passage('A', 'a .'), passage('B', 'b .')]))).toBe('<information> A : a . B : b .</information>');
  expect(String(observation([]))).toBe('<information> nothing found</information>');
  expect(invalidFeedback).toBe('<information> invalid action</information>');
  expect(SEARCH_FAILED).toBe('<information> search failed</information>');
  expect(ownTags).toEqual(['<think>', '</think>', '<search>', '</search>', '<answer>', '</answer>']);
});

test('Search-R1 shows the teacher a reference after its own instruction, and says that a search failed', () => {
  const { name, privilegedPrompt, failedSearch } = searchR1Protocol();
  expect(name).toBe('search-r1');
  expect(String(privilegedPrompt('Who?', '<answer> Ada </answer>'))).toBe(
    `${searchR1Instruction('Who?')}\nHere is how an expert answered it. Learn from it, then answer in your own words.\n<reference><answer> Ada </answer></reference>\n`,
  );
  expect(failedSearch).toBe('\n\n<information>The search failed, no passages were retrieved.</information>\n\n');
});

describe('an action', () => {
  test.each([
    ['<search>a</search>', { kind: 'search', content: 'a' }],
    ['<answer>\n a\n b \n</answer>', { kind: 'answer', content: 'a\n b' }],
    ['<answer> a</answer><search> b</search>', { kind: 'answer', content: 'a' }],
    ['<search> a <search> b</search>', { kind: 'search', content: 'a <search> b' }],
    ['<search> a</answer> b</search>', { kind: 'search', content: 'a</answer> b' }],
    ['<search> a</answer>', { kind: 'invalid', reason: 'closing tag without its opening tag' }],
    ['</answer>', { kind: 'invalid', reason: 'closing tag without its opening tag' }],
    ['<search> </search>', { kind: 'invalid', reason: 'empty <search>' }],
    ['<answer>\n</answer>', { kind: 'invalid', reason: 'empty <answer>' }],
    ['<answer> a', { kind: 'invalid', reason: 'no search and no answer' }],
    ['<think> a</think>', { kind: 'invalid', reason: 'no search and no answer' }],
    ['', { kind: 'invalid', reason: 'no search and no answer' }],
  ])('of %j is %j', (text, action) => {
    expect(parseAction(text)).toEqual(action);
  });

  test.each([
    ['</search>', true],
    ['a</answer> b', true],
    ['<search>', false],
    ['</think>', false],
    ['</search', false],
    ['', false],
  ])('ends with a closing tag of its own: %j, %s', (text, ends) => {
    expect(endsTurn(text)).toBe(ends);
  });
});
