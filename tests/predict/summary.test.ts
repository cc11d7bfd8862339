import { assertAlmostEquals, assertEquals } from "@std/assert";
import { predictionsTable } from "../../lib/predict/predictions_table.ts";
import { summarise } from "../../lib/predict/summary.ts";

Deno.test("a mask's volume, lesions, slices and largest diameter", () => {
  const shape = [24, 20, 10] as const;
  const spacing = [0.5, 2, 3] as const;
  const mask = new Uint8Array(24 * 20 * 10);
  const set = (x: number, y: number, z: number) => mask[x + 24 * (y + 20 * z)] = 1;
  // A bar of 8 x 1 pixels, 4 mm by 2 mm, in two slices; a column of 3 pixels, 0.5 mm by 6 mm.
  for (const z of [2, 3]) for (let x = 4; x < 12; x++) set(x, 5, z);
  for (const y of [14, 15, 16]) set(20, y, 7);
  const found = summarise(mask, { shape, spacing }, 2);
  assertEquals([found.voxels, found.lesions, found.slices], [19, 2, 3]);
  assertAlmostEquals(found.millilitres, 19 * 3 / 1000);
  assertAlmostEquals(found.largestDiameter, Math.hypot(0.5, 6));
  // In slices across x the bar is 2 mm by two slices of 3 mm, the column 6 mm by one.
  const across = summarise(mask, { shape, spacing }, 0);
  assertEquals(across.slices, 9);
  assertAlmostEquals(across.largestDiameter, Math.hypot(6, 3));
  assertEquals(summarise(new Uint8Array(mask.length), { shape, spacing }, 2), {
    voxels: 0,
    millilitres: 0,
    lesions: 0,
    largestDiameter: 0,
    slices: 0,
  });
});

Deno.test("the table is CSV, whatever a scan is called", () => {
  const row = { voxels: 1, millilitres: 1.23456, lesions: 2, largestDiameter: 7.25, slices: 3 };
  const rows = [
    { name: 'a,"b"', presence: 3.14159, ...row },
    { name: "=1+1", presence: null, ...row },
  ];
  assertEquals(
    predictionsTable(rows),
    "case,volume_ml,lesions,largest_diameter_mm,slices,presence\r\n" +
      '"a,""b""",1.235,2,7.3,3,3.142\r\n' +
      "'=1+1,1.235,2,7.3,3,\r\n",
  );
});
