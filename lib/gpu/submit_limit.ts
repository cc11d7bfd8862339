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
  /** Dispatches submitted since the device was last known to be idle, and the time of the first submit. */
  #submitted = 0;
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
    if (this.#submitted === 0) this.#since = this.#now();
    this.#submitted += dispatches;
  }

  /** Notes that all submits are done. */
  done(): void {
    if (this.#isBounded && this.#submitted > 0) {
      const seconds = (this.#now() - this.#since) / 1000 / this.#submitted;
      const fit = Math.floor(SUBMIT_SECONDS / seconds);
      this.#dispatches = Math.min(Math.max(1, fit), DISPATCHES_PER_SUBMIT);
    }
    this.#submitted = 0;
  }
}
