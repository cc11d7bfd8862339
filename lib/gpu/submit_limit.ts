import { DISPATCHES_PER_SUBMIT } from "./uniform_arena.ts";

/**
 * Seconds that a submit may take. A GPU shows nothing else meanwhile, and desktops reset one that seems to
 * hang: Windows after 2 s.
 */
const SUBMIT_SECONDS = 0.1;

/** Dispatches of a submit while no time is known. */
const FIRST = 32;

/** Number of dispatches that a submit may have, by the time that the last ones took. */
export class SubmitLimit {
  readonly #isBounded: boolean;
  readonly #now: () => number;
  #dispatches: number;
  /** Dispatches of each submit that is not known to be done, and the time at which the device began with them. */
  readonly #underWay: number[] = [];
  #since = 0;

  /**
   * Bounds submits, or not.
   *
   * @param isBounded False for a CPU driver, which hangs nothing and loses time with each submit.
   * @param now Time in milliseconds.
   */
  constructor(isBounded: boolean, now: () => number = () => performance.now()) {
    this.#isBounded = isBounded;
    this.#now = now;
    this.#dispatches = isBounded ? FIRST : DISPATCHES_PER_SUBMIT;
  }

  /** Dispatches after which to submit. */
  get dispatches(): number {
    return this.#dispatches;
  }

  /** Notes a submit. */
  submit(dispatches: number): void {
    if (!this.#isBounded) return;
    if (this.#underWay.every((count) => count === 0)) this.#since = this.#now(); // copies take no time
    this.#underWay.push(dispatches);
  }

  /**
   * Notes that submits are done.
   *
   * @param later Number of the last submits of which that is not known.
   */
  done(later = 0): void {
    const done = this.#underWay.splice(0, this.#underWay.length - later);
    const dispatches = done.reduce((sum, count) => sum + count, 0);
    if (dispatches === 0) return;
    const now = this.#now();
    const seconds = (now - this.#since) / 1000 / dispatches;
    this.#since = now;
    const fit = Math.floor(SUBMIT_SECONDS / seconds);
    this.#dispatches = Math.min(Math.max(1, fit), DISPATCHES_PER_SUBMIT);
  }
}
