/** What every assertion of this package throws when it does not hold. */
export class AssertionError extends Error {
  /** Always "AssertionError". */
  override name = "AssertionError";
}
