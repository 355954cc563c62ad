/** Why a backend does not start here, and what the user can do about it. */
export class BackendUnavailable extends Error {
  override readonly name = 'BackendUnavailable';

  /** @param remedy the one command that would make it start; undefined where none would on this machine */
  constructor(
    reason: string,
    readonly remedy?: string,
  ) {
    super(reason);
  }
}
