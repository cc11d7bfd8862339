// Matrix product for GPUs: a workgroup of 16 x 16 threads computes a tile of 64 x 64 or 128 x 128 of
// C. In each round every thread loads one 4x4 block of A's or B's tile into workgroup memory (8
// KiB a side: 32 or 16 deep in k), then multiplies 4 or 8 rows by 4 or 8 columns from there, so
// that a value from memory is used 64 or 128 times and one from workgroup memory 4 or 8 times.
//
// Both tiles are stored [k][line / 4] in vec4, A's transposed on the way in; the columns of a row are
// permuted by k / 4 to spread the stores over the memory banks. Needs no subgroups.
//
// It has not been measured on a GPU.

// Rows and columns of C in a tile: 64 or 128.
override TILE: u32 = 64;
override TILE_K: u32 = 2048 / TILE;
// Vectors in a row of a tile.
override ROW: u32 = TILE / 4;

var<workgroup> tile_a: array<vec4<f32>, 512>;
var<workgroup> tile_b: array<vec4<f32>, 512>;

@compute @workgroup_size(16, 16)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(local_invocation_id) thread: vec3<u32>,
  @builtin(local_invocation_index) index: u32,
) {
  let origin = origin_of(group.z);
  let tile_m = group.y * TILE;
  let tile_n = group.x * TILE;

  // The 4x4 block that this thread loads: the first 128 threads A's, the others B's. Neighbours go along
  // the direction that is contiguous in memory.
  let loads_a = index < 128;
  let block = index % 128;
  let along_k = select(TRANS_B, !TRANS_A, loads_a);
  let line = select(block % (TILE / 4), block / (TILE_K / 4), along_k);
  let depth = select(block / (TILE / 4), block % (TILE_K / 4), along_k);
  let rows = rows_of_a(origin.a, tile_m + 4 * line);
  let columns = columns_of_b(origin.b, tile_n + 4 * line);

  // The update's rounds, if there is one, come after those of A and B.
  let rounds = (params.k + TILE_K - 1) / TILE_K;
  let update_rounds = select(0, (params.update_k + TILE_K - 1) / TILE_K, EXTRA == UPDATE);
  var sums: Sums;
  for (var round = 0u; round < rounds + update_rounds; round++) {
    // Zeroed in words: naga zeroes a variable that has no initial value once, not in every round.
    var values = mat4x4<f32>();
    if (round < rounds) {
      let k = round * TILE_K + 4 * depth;
      if (k < params.k) {
        if (loads_a) { values = block_of_a(rows, k); } else { values = block_of_b(columns, k); }
      }
    } else {
      let k = (round - rounds) * TILE_K + 4 * depth;
      if (loads_a) {
        values = block_of_update_a(tile_m + 4 * line, k);
      } else {
        values = block_of_update_b(tile_n + 4 * line, k);
      }
    }
    values = transpose(values);
    let at = slot(4 * depth, line);
    if (loads_a) {
      tile_a[at] = values[0];
      tile_a[at + ROW] = values[1];
      tile_a[at + 2 * ROW] = values[2];
      tile_a[at + 3 * ROW] = values[3];
    } else {
      tile_b[at] = values[0];
      tile_b[at + ROW] = values[1];
      tile_b[at + 2 * ROW] = values[2];
      tile_b[at + 3 * ROW] = values[3];
    }
    workgroupBarrier();
    for (var i = 0u; i < TILE_K; i += 4) {
      let at_a = slot(i, thread.y);
      let at_b = slot(i, thread.x);
      multiply(&sums, at_a, at_b);
      multiply(&sums, at_a + ROW, at_b + ROW);
      multiply(&sums, at_a + 2 * ROW, at_b + 2 * ROW);
      multiply(&sums, at_a + 3 * ROW, at_b + 3 * ROW);
    }
    workgroupBarrier();
  }

  let m = tile_m + 4 * thread.y;
  let n = tile_n + 4 * thread.x;
  let bias_0 = bias_of(n);
  store_rows(origin.c, m, n, sums.c00, bias_0);
  if (TILE == 128) {
    let bias_1 = bias_of(n + 64);
    store_rows(origin.c, m, n + 64, sums.c01, bias_1);
    store_rows(origin.c, m + 64, n, sums.c10, bias_0);
    store_rows(origin.c, m + 64, n + 64, sums.c11, bias_1);
  }
}

// A thread's sums, [row][column] in blocks of 4x4 that lie 64 apart; all but the first are used in a
// tile of 128 only.
struct Sums { c00: mat4x4<f32>, c01: mat4x4<f32>, c10: mat4x4<f32>, c11: mat4x4<f32> }

// Adds the products at one k. A line 64 further is 16 vectors further.
fn multiply(sums: ptr<function, Sums>, at_a: u32, at_b: u32) {
  let a0 = tile_a[at_a];
  let b0 = tile_b[at_b];
  (*sums).c00 += outer(b0, a0);
  if (TILE == 128) {
    let a1 = tile_a[at_a + 16];
    let b1 = tile_b[at_b + 16];
    (*sums).c01 += outer(b1, a0);
    (*sums).c10 += outer(b0, a1);
    (*sums).c11 += outer(b1, a1);
  }
}

// Place of vector `line` of row k in a tile.
fn slot(k: u32, line: u32) -> u32 {
  return k * ROW + (line ^ ((k / 4) % 8));
}

// Column i of the result is b * a[i].
fn outer(b: vec4<f32>, a: vec4<f32>) -> mat4x4<f32> {
  return mat4x4<f32>(b * a.x, b * a.y, b * a.z, b * a.w);
}
