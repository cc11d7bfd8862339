// Matrix product for GPUs: a workgroup of 16 x 16 threads computes a tile of 64 x 64 or 128 x 128 of
// C. In each round every thread loads one 4x4 block of A's or B's tile into workgroup memory (8
// KiB a side: 32 or 16 deep in k), then multiplies 4 or 8 rows by 4 or 8 columns from there, so
// that a value from memory is used 64 or 128 times and one from workgroup memory 4 or 8 times.
//
// Both tiles are stored [k][line / 4] in vec4, A's transposed on the way in; the columns of a row are
// permuted by k / 4 to spread the stores over the memory banks. Needs no subgroups.
//
// GFLOPS_LINE

// Rows and columns of C in a tile: 64 or 128.
override TILE: u32 = 64;
override TILE_K: u32 = 2048 / TILE;
override TILE_VECTORS: u32 = 512;

var<workgroup> tile_a: array<vec4<f32>, TILE_VECTORS>;
var<workgroup> tile_b: array<vec4<f32>, TILE_VECTORS>;

@compute @workgroup_size(16, 16)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(local_invocation_id) thread: vec3<u32>,
  @builtin(local_invocation_index) index: u32,
) {
  let origin = origin_of(group.z);
  let tile_m = group.y * TILE;
  let tile_n = group.x * TILE;

  // Which 4x4 block this thread loads: the first 128 threads A's, the others B's. Neighbours go along
  // the direction that is contiguous in memory.
  let loads_a = index < 128;
  let block = index % 128;
  let along_k = select(TRANS_B, !TRANS_A, loads_a);
  let line = select(block % (TILE / 4), block / (TILE_K / 4), along_k);
  let depth = select(block / (TILE / 4), block % (TILE_K / 4), along_k);
  let rows = rows_of_a(origin.a, tile_m + 4 * line);
  let columns = columns_of_b(origin.b, tile_n + 4 * line);

  // Sums [row][column]; the second halves of the tile are used when TILE is 128.
  var c00: mat4x4<f32>; var c01: mat4x4<f32>;
  var c10: mat4x4<f32>; var c11: mat4x4<f32>;

  for (var start = 0u; start < params.k; start += TILE_K) {
    let k = start + 4 * depth;
    var values: mat4x4<f32>;
    if (k < params.k) {
      if (loads_a) { values = load_a(rows, k); } else { values = load_b(columns, k); }
    }
    values = transpose(values);
    for (var i = 0u; i < 4; i++) {
      let at = slot(4 * depth + i, line);
      if (loads_a) { tile_a[at] = values[i]; } else { tile_b[at] = values[i]; }
    }
    workgroupBarrier();
    for (var i = 0u; i < TILE_K; i++) {
      let a0 = tile_a[slot(i, thread.y)];
      let b0 = tile_b[slot(i, thread.x)];
      c00 += outer(b0, a0);
      if (TILE == 128) {
        let a1 = tile_a[slot(i, 16 + thread.y)];
        let b1 = tile_b[slot(i, 16 + thread.x)];
        c01 += outer(b1, a0);
        c10 += outer(b0, a1);
        c11 += outer(b1, a1);
      }
    }
    workgroupBarrier();
  }

  let m = tile_m + 4 * thread.y;
  let n = tile_n + 4 * thread.x;
  store_block(origin.c, m, n, c00);
  if (TILE == 128) {
    store_block(origin.c, m, n + 64, c01);
    store_block(origin.c, m + 64, n, c10);
    store_block(origin.c, m + 64, n + 64, c11);
  }
}

// Where vector `line` of row k lies in a tile.
fn slot(k: u32, line: u32) -> u32 {
  return k * (TILE / 4) + (line ^ ((k / 4) % 8));
}

// Column i of the result is b * a[i].
fn outer(b: vec4<f32>, a: vec4<f32>) -> mat4x4<f32> {
  return mat4x4<f32>(b * a.x, b * a.y, b * a.z, b * a.w);
}

fn store_block(origin: u32, m: u32, n: u32, sums: mat4x4<f32>) {
  for (var i = 0u; i < 4; i++) {
    store(origin, m + i, n, sums[i]);
    if (ACTIVATION != 0) { activate_stored(origin, m + i, n); }
  }
}
