import { checkObject, checkText, checkTexts, described } from '../arguments.js';

/** A question with its gold answers, as FlashRAG and Search-R1 keep them (`golden_answers` on disk). */
export interface Question {
  /** Its name within its set: what results are paired by. */
  readonly id: string;
  /** Which set it belongs to, such as `hotpotqa` or `musique-mini`. */
  readonly dataset: string;
  /** As it is put to the policy: text, which never becomes a control token. */
  readonly question: string;
  /** Any of these is right (exact match). */
  readonly goldenAnswers: readonly string[];
  /** What else the set says of it, such as its supporting passages or its hops. */
  readonly metadata?: Readonly<Record<string, unknown>>;
}

/** Looks at questions where they come in. @throws TypeError naming the first that is none */
export function checkQuestions(where: string, questions: unknown): void {
  if (!Array.isArray(questions)) throw new TypeError(`${where}: questions: expected a list of questions, got ${described(questions)}`);
  questions.forEach((question, i) => {
    checkObject(where, `question ${i}`, question, ['id', 'dataset', 'question', 'goldenAnswers']);
    checkText(where, `question ${i}: question`, question.question);
    checkTexts(where, `question ${i}: goldenAnswers`, question.goldenAnswers);
  });
}
