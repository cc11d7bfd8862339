import { assertAlmostEquals, assertEquals, assertRejects } from "@std/assert";
import { encodeRunLengths } from "../../lib/formats/run_length.ts";
import { summarizeUnprompted } from "../../lib/evaluate/unprompted.ts";
import { discs } from "../train/discs.ts";
import { scoreMasks } from "./score_masks.ts";

Deno.test("a peer's masks are scored as ours without a prompt are", async () => {
  const made = discs("peer", { count: 3, width: 40, height: 50 });
  const [full, half, free] = await Promise.all(made.refs.map((ref) => made.read(ref)));
  const healthy = { ...free.ref, tumourVoxels: 0 };
  const slices = {
    read: (ref: typeof healthy) =>
      ref.id === healthy.id
        ? Promise.resolve({ ...free, ref: healthy, mask: free.mask.map(() => 0) })
        : made.read(ref),
  };
  const none = { train: [], validation: [] };
  const data = {
    slices: slices as unknown as Parameters<typeof scoreMasks>[0]["slices"],
    parts: { ...none, test: [full.ref, half.ref] },
    healthy: { ...none, test: [healthy] },
  };
  const size = { width: 40, height: 50 };
  const upper = half.mask.map((pixel, i) => i % 2 ? pixel : 0);
  const file = {
    model: "peer",
    hours: 1,
    curve: [],
    masks: [full.mask, upper, free.mask].map((mask, i) => {
      const { size: [height, width], counts } = encodeRunLengths(mask, size);
      return {
        id: made.refs[i].id,
        size: [height, width] as [number, number],
        counts: [...counts],
      };
    }),
  };
  const scored = await scoreMasks(data, file);
  const found = summarizeUnprompted([{ slices: scored, rule: null }]);
  const both = upper.filter(Boolean).length;
  const dice = 2 * both / (both + half.mask.filter(Boolean).length);
  assertAlmostEquals(found.dice!.mean, (1 + dice) / 2);
  assertEquals([found.sensitivity!.mean, found.healthyPainted!.mean], [1, 1]);
  assertAlmostEquals(found.healthyArea!.mean, free.mask.filter(Boolean).length);
  await assertRejects(
    () => scoreMasks(data, { ...file, masks: file.masks.slice(1) }),
    Error,
    "lack",
  );
});
