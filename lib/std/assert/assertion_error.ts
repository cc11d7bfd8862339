/** Error of an assertion that does not hold. */
export class AssertionError extends Error {
  /** Always "AssertionError". */
  override name = "AssertionError";
}
