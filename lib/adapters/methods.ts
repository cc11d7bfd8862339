import { excerpt, InputError } from "../errors.ts";
import { loha } from "./loha.ts";
import { lora } from "./lora.ts";
import type { AdapterMethod, AdapterTensor } from "./method.ts";

/** The known methods, one row each. */
export const METHODS: readonly AdapterMethod[] = [lora, loha];

/** Names of the methods as options have them: `peft_type` in small letters. */
export const PEFT_TYPES: readonly string[] = METHODS.map(({ peftType }) => peftType.toLowerCase());

/**
 * The method of a `peft_type`, in any case.
 *
 * @throws {InputError} if there is none.
 */
export function methodOf(peftType: string): AdapterMethod {
  const method = METHODS.find((method) => method.peftType === peftType.toUpperCase());
  if (method) return method;
  throw new InputError(
    `there is no adapter method ${excerpt(peftType)}: choose ${PEFT_TYPES.join(" or ")}`,
  );
}

/** A weight's path, if it is a tensor of an adapted layer: the layer's path, the tensor, its method. */
export function parseTensorName(
  name: string,
): { layer: string; tensor: AdapterTensor; method: AdapterMethod } | null {
  for (const method of METHODS) {
    for (const tensor of method.tensors) {
      if (name.endsWith(`.${tensor.name}`)) {
        return { layer: name.slice(0, -tensor.name.length - 1), tensor, method };
      }
    }
  }
  return null;
}
