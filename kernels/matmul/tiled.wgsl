// Matrix product for GPUs: a workgroup of THREADS_X x THREADS_Y threads computes a tile of C, of which each thread has
// BLOCKS_M x BLOCKS_N blocks of 4x4 results. In each round the threads load A's and B's tile, TILE_K deep, into
// workgroup memory by blocks of 4x4, then multiply from there, so that a value from memory is used as often as the
// tile is wide and one from workgroup memory 4 times a block. The tiles are those of kernels/target.ts.
//
// Both tiles are stored [k][line / 4] in vec4, A's transposed on the way in; the columns of a row are
// permuted by k / 4 to spread the stores over the memory banks. Needs no subgroups.
//
// It has not been measured on a GPU.

override THREADS_X: u32 = 16;
override THREADS_Y: u32 = 16;
override BLOCKS_M: u32 = 1; // at most 4
override BLOCKS_N: u32 = 1; // at most 2
override TILE_K: u32 = 32;

// Vectors in a row of a tile: a multiple of 8, since slot permutes as many.
override ROW_A: u32 = THREADS_Y * BLOCKS_M;
override ROW_B: u32 = THREADS_X * BLOCKS_N;
override SIZE_A: u32 = TILE_K * ROW_A;
override SIZE_B: u32 = TILE_K * ROW_B;

var<workgroup> tile_a: array<Operand, SIZE_A>;
var<workgroup> tile_b: array<Operand, SIZE_B>;

@compute @workgroup_size(THREADS_X, THREADS_Y)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(local_invocation_id) thread: vec3<u32>,
  @builtin(local_invocation_index) index: u32,
) {
  let origin = origin_of(group.z);
  let tile_m = group.y * 4 * ROW_A;
  let tile_n = group.x * 4 * ROW_B;

  // The update's rounds, if there is one, come after those of A and B.
  let rounds = (params.k + TILE_K - 1) / TILE_K;
  let update_rounds = select(0, (params.update_k + TILE_K - 1) / TILE_K, EXTRA == UPDATE);
  var sums: Sums;
  for (var round = 0u; round < rounds + update_rounds; round++) {
    let updates = round >= rounds;
    let k = select(round, round - rounds, updates) * TILE_K;
    for (var block = index; block < (SIZE_A + SIZE_B) / 4; block += THREADS_X * THREADS_Y) {
      if (block < SIZE_A / 4) {
        load_tile_a(origin.a, tile_m, k, updates, block);
      } else {
        load_tile_b(origin.b, tile_n, k, updates, block - SIZE_A / 4);
      }
    }
    workgroupBarrier();
    for (var i = 0u; i < TILE_K; i += 4) {
      multiply(&sums, thread, i, 0u);
      multiply(&sums, thread, i, 1u);
      multiply(&sums, thread, i, 2u);
      multiply(&sums, thread, i, 3u);
    }
    workgroupBarrier();
  }

  let m = tile_m + 4 * thread.y;
  let n = tile_n + 4 * thread.x;
  let bias_0 = bias_of(n);
  let bias_1 = bias_of(n + 4 * THREADS_X);
  store_blocks(origin.c, m, n, sums.c00, sums.c01, bias_0, bias_1);
  if (BLOCKS_M > 1) { store_blocks(origin.c, m + 4 * THREADS_Y, n, sums.c10, sums.c11, bias_0, bias_1); }
  if (BLOCKS_M > 2) {
    store_blocks(origin.c, m + 8 * THREADS_Y, n, sums.c20, sums.c21, bias_0, bias_1);
    store_blocks(origin.c, m + 12 * THREADS_Y, n, sums.c30, sums.c31, bias_0, bias_1);
  }
}

// A block of A's tile: 4 lines by 4 k. Neighbours go along the direction that is contiguous in memory.
fn load_tile_a(origin: u32, tile_m: u32, first: u32, updates: bool, block: u32) {
  let line = select(block / (TILE_K / 4), block % ROW_A, TRANS_A);
  let depth = select(block % (TILE_K / 4), block / ROW_A, TRANS_A);
  let k = first + 4 * depth;
  // Zeroed in words: naga zeroes a variable that has no initial value once, not in every round.
  var values = mat4x4<f32>();
  if (EXTRA == UPDATE && updates) {
    values = block_of_update_a(tile_m + 4 * line, k);
  } else if (k < params.k) {
    values = block_of_a(rows_of_a(origin, tile_m + 4 * line), k);
  }
  values = transpose(rounded_block(values));
  let at = slot(4 * depth, line, ROW_A);
  tile_a[at] = Operand(values[0]);
  tile_a[at + ROW_A] = Operand(values[1]);
  tile_a[at + 2 * ROW_A] = Operand(values[2]);
  tile_a[at + 3 * ROW_A] = Operand(values[3]);
}

// The same of B's tile.
fn load_tile_b(origin: u32, tile_n: u32, first: u32, updates: bool, block: u32) {
  let line = select(block % ROW_B, block / (TILE_K / 4), TRANS_B);
  let depth = select(block / ROW_B, block % (TILE_K / 4), TRANS_B);
  let k = first + 4 * depth;
  var values = mat4x4<f32>();
  if (EXTRA == UPDATE && updates) {
    values = block_of_update_b(tile_n + 4 * line, k);
  } else if (k < params.k) {
    values = block_of_b(columns_of_b(origin, tile_n + 4 * line), k);
  }
  values = transpose(rounded_block(values));
  let at = slot(4 * depth, line, ROW_B);
  tile_b[at] = Operand(values[0]);
  tile_b[at + ROW_B] = Operand(values[1]);
  tile_b[at + 2 * ROW_B] = Operand(values[2]);
  tile_b[at + 3 * ROW_B] = Operand(values[3]);
}

// A thread's sums, [row][column] in blocks of 4x4 that lie 4 THREADS_Y rows and 4 THREADS_X columns apart, as many
// as BLOCKS_M and BLOCKS_N say.
struct Sums {
  c00: mat4x4<f32>, c01: mat4x4<f32>, c10: mat4x4<f32>, c11: mat4x4<f32>,
  c20: mat4x4<f32>, c21: mat4x4<f32>, c30: mat4x4<f32>, c31: mat4x4<f32>,
}

// Adds the products at one k of the tile, i + j.
fn multiply(sums: ptr<function, Sums>, thread: vec3<u32>, i: u32, j: u32) {
  let at_a = slot(i, thread.y, ROW_A) + j * ROW_A;
  let at_b = slot(i, thread.x, ROW_B) + j * ROW_B;
  let a0 = vec4<f32>(tile_a[at_a]);
  let b0 = vec4<f32>(tile_b[at_b]);
  (*sums).c00 += outer(b0, a0);
  var b1 = vec4<f32>();
  if (BLOCKS_N > 1) {
    b1 = vec4<f32>(tile_b[at_b + THREADS_X]);
    (*sums).c01 += outer(b1, a0);
  }
  if (BLOCKS_M > 1) {
    let a1 = vec4<f32>(tile_a[at_a + THREADS_Y]);
    (*sums).c10 += outer(b0, a1);
    if (BLOCKS_N > 1) { (*sums).c11 += outer(b1, a1); }
  }
  if (BLOCKS_M > 2) {
    let a2 = vec4<f32>(tile_a[at_a + 2 * THREADS_Y]);
    let a3 = vec4<f32>(tile_a[at_a + 3 * THREADS_Y]);
    (*sums).c20 += outer(b0, a2);
    (*sums).c30 += outer(b0, a3);
    if (BLOCKS_N > 1) {
      (*sums).c21 += outer(b1, a2);
      (*sums).c31 += outer(b1, a3);
    }
  }
}

fn store_blocks(
  origin: u32, m: u32, n: u32, left: mat4x4<f32>, right: mat4x4<f32>, bias_left: vec4<f32>, bias_right: vec4<f32>,
) {
  store_rows(origin, m, n, left, bias_left);
  if (BLOCKS_N > 1) { store_rows(origin, m, n + 4 * THREADS_X, right, bias_right); }
}

// Place of vector `line` of row k in a tile. Lines that are THREADS_X or THREADS_Y apart keep their distance, since
// the permutation is within 8.
fn slot(k: u32, line: u32, row: u32) -> u32 {
  return k * row + (line ^ ((k / 4) % 8));
}

// Column i of the result is b * a[i].
fn outer(b: vec4<f32>, a: vec4<f32>) -> mat4x4<f32> {
  return mat4x4<f32>(b * a.x, b * a.y, b * a.z, b * a.w);
}
