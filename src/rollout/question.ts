/** A question with its gold answers, as FlashRAG and Search-R1 keep them (`golden_answers` on disk). */
export interface Question {
  readonly id: string;
  /** Which set it belongs to, such as `hotpotqa` or `musique-mini`. */
  readonly dataset: string;
  readonly question: string;
  /** Any of these is right. */
  readonly goldenAnswers: readonly string[];
  readonly metadata?: Readonly<Record<string, unknown>>;
}
