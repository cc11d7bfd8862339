// Matrix product for CPU drivers: one workgroup is one subgroup, as wide as a vector register, and a load
// is what costs. Each element of the tile's operands is loaded by one lane only, and every load feeds 32
// or more multiply-adds:
//
// - the *owned* side: each lane holds 4 (or 2 x 4) lines of its own, 4 deep in k;
// - the *shared* side: each lane loads 4 of the 32 lines and subgroupBroadcast shows them to all.
//
// Tile: SHARED_TILE (16 or 32) x OWNED_TILE (4 or 8 times the lanes). A product of 4x4 blocks is one
// mat4x4 multiplication, and the transposes only rename registers. Lanes own columns of C; with OWN_ROWS
// they own rows, for products with few columns (LoRA's rank).
//
// Operands that are read often come from textures (matmul_a_texture.wgsl): a texel costs a third of a vec4
// from a storage buffer. A vector wider than 8 lanes gains nothing: storage loads and stores are compiled
// to loops over the lanes, and those cost more than twice as much for 16 lanes.
//
// Speed on llvmpipe with vectors of 8 lanes, for two cores of a 2.6 GHz Xeon with AVX-512, of which OpenBLAS
// makes 337 GFLOP/s at 1024^3: 85 there (0.25 of it) and 41 to 94 (0.12 to 0.28) on linear layers and their
// gradients, the less the shorter k is, because C's stores cost as much as loads; 20 to 35 with 16 rows
// or columns. Without textures 45 to 57. A multiply-add is compiled to two instructions, so that a vector
// of 8 lanes can reach a quarter of the processor's peak. A specialisation compiles in
// 0.3 to 1 s.

override LANES: u32 = 8;
override SHARED_TILE: u32 = 32;
override OWNED_TILE: u32 = 64;
override OWN_ROWS: bool = false;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let origin = origin_of(group.z);
  let shared_start = select(group.y, group.x, OWN_ROWS) * SHARED_TILE;
  let own_0 = select(group.x, group.y, OWN_ROWS) * OWNED_TILE + 4 * lane;
  let own_1 = own_0 + 4 * LANES;
  // The lanes that a small tile has no lines for repeat what the first ones load.
  let shared_lines = shared_lines_of(origin, shared_start + (4 * lane) % SHARED_TILE);
  let lines_0 = owned_lines_of(origin, own_0);
  let lines_1 = owned_lines_of(origin, own_1);

  var sums: Sums;
  for (var k = 0u; k < params.k; k += 4) {
    add_products(&sums, load_shared(shared_lines, k), load_owned(lines_0, k), load_owned(lines_1, k));
  }
  if (UPDATE) {
    let shared_line = shared_start + (4 * lane) % SHARED_TILE;
    for (var k = 0u; k < params.update_k; k += 4) {
      add_products(&sums, update_shared(shared_line, k), update_owned(own_0, k), update_owned(own_1, k));
    }
  }

  // Columns are the owned lines, or with OWN_ROWS the shared ones.
  let bias_l = bias_of(own_0);
  let bias_r = bias_of(own_1);
  let bias_s = bias_of(shared_start + (4 * lane) % SHARED_TILE);
  let bias_0 = subgroupBroadcast(bias_s, 0u);
  store_block(origin.c, shared_start, own_0, sums.l0, bias_l, bias_0);
  if (OWNED_TILE > 4 * LANES) { store_block(origin.c, shared_start, own_1, sums.r0, bias_r, bias_0); }
  let bias_1 = subgroupBroadcast(bias_s, 1u);
  store_block(origin.c, shared_start + 4, own_0, sums.l1, bias_l, bias_1);
  if (OWNED_TILE > 4 * LANES) { store_block(origin.c, shared_start + 4, own_1, sums.r1, bias_r, bias_1); }
  let bias_2 = subgroupBroadcast(bias_s, 2u);
  store_block(origin.c, shared_start + 8, own_0, sums.l2, bias_l, bias_2);
  if (OWNED_TILE > 4 * LANES) { store_block(origin.c, shared_start + 8, own_1, sums.r2, bias_r, bias_2); }
  let bias_3 = subgroupBroadcast(bias_s, 3u);
  store_block(origin.c, shared_start + 12, own_0, sums.l3, bias_l, bias_3);
  if (OWNED_TILE > 4 * LANES) { store_block(origin.c, shared_start + 12, own_1, sums.r3, bias_r, bias_3); }
  if (SHARED_TILE > 16) {
    let bias_4 = subgroupBroadcast(bias_s, 4u);
    store_block(origin.c, shared_start + 16, own_0, sums.l4, bias_l, bias_4);
    if (OWNED_TILE > 4 * LANES) { store_block(origin.c, shared_start + 16, own_1, sums.r4, bias_r, bias_4); }
    let bias_5 = subgroupBroadcast(bias_s, 5u);
    store_block(origin.c, shared_start + 20, own_0, sums.l5, bias_l, bias_5);
    if (OWNED_TILE > 4 * LANES) { store_block(origin.c, shared_start + 20, own_1, sums.r5, bias_r, bias_5); }
    let bias_6 = subgroupBroadcast(bias_s, 6u);
    store_block(origin.c, shared_start + 24, own_0, sums.l6, bias_l, bias_6);
    if (OWNED_TILE > 4 * LANES) { store_block(origin.c, shared_start + 24, own_1, sums.r6, bias_r, bias_6); }
    let bias_7 = subgroupBroadcast(bias_s, 7u);
    store_block(origin.c, shared_start + 28, own_0, sums.l7, bias_l, bias_7);
    if (OWNED_TILE > 4 * LANES) { store_block(origin.c, shared_start + 28, own_1, sums.r7, bias_r, bias_7); }
  }
}

// Sums by block of 4 shared lines: [shared line][owned line], left and right half of the tile. In a smaller
// tile the sums that are never stored are dead code and cost nothing.
struct Sums {
  l0: mat4x4<f32>, l1: mat4x4<f32>, l2: mat4x4<f32>, l3: mat4x4<f32>,
  l4: mat4x4<f32>, l5: mat4x4<f32>, l6: mat4x4<f32>, l7: mat4x4<f32>,
  r0: mat4x4<f32>, r1: mat4x4<f32>, r2: mat4x4<f32>, r3: mat4x4<f32>,
  r4: mat4x4<f32>, r5: mat4x4<f32>, r6: mat4x4<f32>, r7: mat4x4<f32>,
}

// Adds the products of 4 k: of the shared lines, [line][k], with both blocks of owned ones.
fn add_products(sums: ptr<function, Sums>, lines: mat4x4<f32>, left: mat4x4<f32>, right: mat4x4<f32>) {
  let l = transpose(left);
  let r = transpose(right);
  let s0 = mat4x4<f32>(
    subgroupBroadcast(lines[0], 0u), subgroupBroadcast(lines[1], 0u),
    subgroupBroadcast(lines[2], 0u), subgroupBroadcast(lines[3], 0u),
  );
  (*sums).l0 += l * s0;
  (*sums).r0 += r * s0;
  let s1 = mat4x4<f32>(
    subgroupBroadcast(lines[0], 1u), subgroupBroadcast(lines[1], 1u),
    subgroupBroadcast(lines[2], 1u), subgroupBroadcast(lines[3], 1u),
  );
  (*sums).l1 += l * s1;
  (*sums).r1 += r * s1;
  let s2 = mat4x4<f32>(
    subgroupBroadcast(lines[0], 2u), subgroupBroadcast(lines[1], 2u),
    subgroupBroadcast(lines[2], 2u), subgroupBroadcast(lines[3], 2u),
  );
  (*sums).l2 += l * s2;
  (*sums).r2 += r * s2;
  let s3 = mat4x4<f32>(
    subgroupBroadcast(lines[0], 3u), subgroupBroadcast(lines[1], 3u),
    subgroupBroadcast(lines[2], 3u), subgroupBroadcast(lines[3], 3u),
  );
  (*sums).l3 += l * s3;
  (*sums).r3 += r * s3;
  let s4 = mat4x4<f32>(
    subgroupBroadcast(lines[0], 4u), subgroupBroadcast(lines[1], 4u),
    subgroupBroadcast(lines[2], 4u), subgroupBroadcast(lines[3], 4u),
  );
  (*sums).l4 += l * s4;
  (*sums).r4 += r * s4;
  let s5 = mat4x4<f32>(
    subgroupBroadcast(lines[0], 5u), subgroupBroadcast(lines[1], 5u),
    subgroupBroadcast(lines[2], 5u), subgroupBroadcast(lines[3], 5u),
  );
  (*sums).l5 += l * s5;
  (*sums).r5 += r * s5;
  let s6 = mat4x4<f32>(
    subgroupBroadcast(lines[0], 6u), subgroupBroadcast(lines[1], 6u),
    subgroupBroadcast(lines[2], 6u), subgroupBroadcast(lines[3], 6u),
  );
  (*sums).l6 += l * s6;
  (*sums).r6 += r * s6;
  let s7 = mat4x4<f32>(
    subgroupBroadcast(lines[0], 7u), subgroupBroadcast(lines[1], 7u),
    subgroupBroadcast(lines[2], 7u), subgroupBroadcast(lines[3], 7u),
  );
  (*sums).l7 += l * s7;
  (*sums).r7 += r * s7;
}

fn shared_lines_of(origin: Origin, line: u32) -> vec4<u32> {
  if (OWN_ROWS) { return columns_of_b(origin.b, line); }
  return rows_of_a(origin.a, line);
}

fn owned_lines_of(origin: Origin, line: u32) -> vec4<u32> {
  if (OWN_ROWS) { return rows_of_a(origin.a, line); }
  return columns_of_b(origin.b, line);
}

fn load_shared(lines: vec4<u32>, k: u32) -> mat4x4<f32> {
  if (OWN_ROWS) { return load_b(lines, k); }
  return load_a(lines, k);
}

fn load_owned(lines: vec4<u32>, k: u32) -> mat4x4<f32> {
  if (OWN_ROWS) { return load_a(lines, k); }
  return load_b(lines, k);
}

fn update_shared(line: u32, k: u32) -> mat4x4<f32> {
  if (OWN_ROWS) { return load_update_b(line, k); }
  return load_update_a(line, k);
}

fn update_owned(line: u32, k: u32) -> mat4x4<f32> {
  if (OWN_ROWS) { return load_update_a(line, k); }
  return load_update_b(line, k);
}

// Stores the sums of 4 shared lines with 4 owned ones. Whichever are columns have the bias.
fn store_block(
  origin: u32, shared_line: u32, owned: u32, sums: mat4x4<f32>, bias_owned: vec4<f32>, bias_shared: vec4<f32>,
) {
  if (OWN_ROWS) {
    store_rows(origin, owned, shared_line, transpose(sums), bias_shared);
  } else {
    store_rows(origin, shared_line, owned, sums, bias_owned);
  }
}
