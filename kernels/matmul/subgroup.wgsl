// Matrix product for CPU drivers: one workgroup is one subgroup, as wide as a vector register, and
// registers are what is short. Each element of the tile's operands is loaded by one lane only:
//
// - the *owned* side: each lane holds 2 x 4 lines of its own, 4 deep in k;
// - the *shared* side: each lane loads 4 of the 16 lines and subgroupBroadcast shows them to all.
//
// Tile: 16 x 8 times the lanes. Lanes own columns of C; with OWN_ROWS they own rows, for products with few
// columns (LoRA's rank). Each line that is shown is used up before the next: its 4 k times 8 owned lines. The
// transposes only rename registers. Every tile adds up a sum in the same order and gives the same bits.
//
// Both operands come from textures there (compose.ts). A tile of 32 lines loads less but takes twice as long to
// compile, and was no faster than this one if 30 KB of machine code a round do not fit in the cache of decoded
// instructions; nor were 8 k a round. Written as products of 4x4 blocks, which shows four lines before it uses one,
// it was a quarter slower with the 16 vector registers of AVX2. A vector wider than 8 lanes gains nothing: storage
// stores are compiled to loops over the lanes.
//
// Speed on llvmpipe with vectors of 8 lanes, on two Zen 4 cores: 47 to 68 GFLOP/s on the models' linear layers, 0.24 to
// 0.43 of OpenBLAS beside it (results/bench). A multiply-add is two instructions: llvmpipe lowers fma. A specialisation
// compiles in 0.3 s.

override LANES: u32 = 8;
override OWN_ROWS: bool = false;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let origin = origin_of(group.z);
  let shared_start = select(group.y, group.x, OWN_ROWS) * SHARED_LINES;
  // The lanes that there are no lines for repeat what the first ones load.
  let shared_line = shared_start + 4 * lane % SHARED_LINES;
  let own_0 = select(group.x, group.y, OWN_ROWS) * OWNED_LINES * LANES + 4 * lane;
  let own_1 = own_0 + 4 * LANES;
  let shared_lines = shared_lines_of(origin, shared_line);
  let lines_0 = owned_lines_of(origin, own_0);
  let lines_1 = owned_lines_of(origin, own_1);

  var sums: Sums;
  let depth = params.k; // read before loops: llvmpipe gathers it anew for each round otherwise
  for (var k = 0u; k < depth; k += 4) {
    add_products(
      &sums, rounded_block(load_shared(shared_lines, k)),
      rounded_block(load_owned(lines_0, k)), rounded_block(load_owned(lines_1, k)),
    );
  }
  if (EXTRA == UPDATE) {
    let update_depth = params.update_k;
    for (var k = 0u; k < update_depth; k += 4) {
      add_products(
        &sums, rounded_block(update_shared(shared_line, k)),
        rounded_block(update_owned(own_0, k)), rounded_block(update_owned(own_1, k)),
      );
    }
  }

  // Columns are the owned lines, or with OWN_ROWS the shared ones.
  let bias_l = bias_of(own_0);
  let bias_r = bias_of(own_1);
  let bias_s = bias_of(shared_line);
  let bias_0 = subgroupBroadcast(bias_s, 0u);
  store_block(origin.c, shared_start, own_0, sums.l0, bias_l, bias_0);
  store_block(origin.c, shared_start, own_1, sums.r0, bias_r, bias_0);
  let bias_1 = subgroupBroadcast(bias_s, 1u);
  store_block(origin.c, shared_start + 4, own_0, sums.l1, bias_l, bias_1);
  store_block(origin.c, shared_start + 4, own_1, sums.r1, bias_r, bias_1);
  let bias_2 = subgroupBroadcast(bias_s, 2u);
  store_block(origin.c, shared_start + 8, own_0, sums.l2, bias_l, bias_2);
  store_block(origin.c, shared_start + 8, own_1, sums.r2, bias_r, bias_2);
  let bias_3 = subgroupBroadcast(bias_s, 3u);
  store_block(origin.c, shared_start + 12, own_0, sums.l3, bias_l, bias_3);
  store_block(origin.c, shared_start + 12, own_1, sums.r3, bias_r, bias_3);
}

// Sums by block of 4 shared lines: [shared line][owned line], left and right half of the tile.
struct Sums {
  l0: mat4x4<f32>, l1: mat4x4<f32>, l2: mat4x4<f32>, l3: mat4x4<f32>,
  r0: mat4x4<f32>, r1: mat4x4<f32>, r2: mat4x4<f32>, r3: mat4x4<f32>,
}

// Adds the products of 4 k: of the shared lines, [line][k], with both blocks of owned ones.
fn add_products(sums: ptr<function, Sums>, lines: mat4x4<f32>, left: mat4x4<f32>, right: mat4x4<f32>) {
  let l = transpose(left);
  let r = transpose(right);
  let x0 = subgroupBroadcast(lines[0], 0u);
  (*sums).l0[0] += l * x0;
  (*sums).r0[0] += r * x0;
  let x1 = subgroupBroadcast(lines[1], 0u);
  (*sums).l0[1] += l * x1;
  (*sums).r0[1] += r * x1;
  let x2 = subgroupBroadcast(lines[2], 0u);
  (*sums).l0[2] += l * x2;
  (*sums).r0[2] += r * x2;
  let x3 = subgroupBroadcast(lines[3], 0u);
  (*sums).l0[3] += l * x3;
  (*sums).r0[3] += r * x3;
  let x4 = subgroupBroadcast(lines[0], 1u);
  (*sums).l1[0] += l * x4;
  (*sums).r1[0] += r * x4;
  let x5 = subgroupBroadcast(lines[1], 1u);
  (*sums).l1[1] += l * x5;
  (*sums).r1[1] += r * x5;
  let x6 = subgroupBroadcast(lines[2], 1u);
  (*sums).l1[2] += l * x6;
  (*sums).r1[2] += r * x6;
  let x7 = subgroupBroadcast(lines[3], 1u);
  (*sums).l1[3] += l * x7;
  (*sums).r1[3] += r * x7;
  let x8 = subgroupBroadcast(lines[0], 2u);
  (*sums).l2[0] += l * x8;
  (*sums).r2[0] += r * x8;
  let x9 = subgroupBroadcast(lines[1], 2u);
  (*sums).l2[1] += l * x9;
  (*sums).r2[1] += r * x9;
  let x10 = subgroupBroadcast(lines[2], 2u);
  (*sums).l2[2] += l * x10;
  (*sums).r2[2] += r * x10;
  let x11 = subgroupBroadcast(lines[3], 2u);
  (*sums).l2[3] += l * x11;
  (*sums).r2[3] += r * x11;
  let x12 = subgroupBroadcast(lines[0], 3u);
  (*sums).l3[0] += l * x12;
  (*sums).r3[0] += r * x12;
  let x13 = subgroupBroadcast(lines[1], 3u);
  (*sums).l3[1] += l * x13;
  (*sums).r3[1] += r * x13;
  let x14 = subgroupBroadcast(lines[2], 3u);
  (*sums).l3[2] += l * x14;
  (*sums).r3[2] += r * x14;
  let x15 = subgroupBroadcast(lines[3], 3u);
  (*sums).l3[3] += l * x15;
  (*sums).r3[3] += r * x15;
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
  if (OWN_ROWS) { return block_of_b(lines, k); }
  return block_of_a(lines, k);
}

fn load_owned(lines: vec4<u32>, k: u32) -> mat4x4<f32> {
  if (OWN_ROWS) { return block_of_a(lines, k); }
  return block_of_b(lines, k);
}

fn update_shared(line: u32, k: u32) -> mat4x4<f32> {
  if (OWN_ROWS) { return block_of_update_b(line, k); }
  return block_of_update_a(line, k);
}

fn update_owned(line: u32, k: u32) -> mat4x4<f32> {
  if (OWN_ROWS) { return block_of_update_a(line, k); }
  return block_of_update_b(line, k);
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
