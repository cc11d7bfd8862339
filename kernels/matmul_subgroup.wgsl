// Matrix product for CPU drivers: one workgroup is one subgroup of 8 lanes, the width of a vector
// register, and a load is what costs. Each element of the tile's operands is loaded by one lane
// only, and every load feeds 32 or more multiply-adds:
//
// - the *owned* side: each lane holds 4 (or 2 x 4) lines of its own, 4 deep in k;
// - the *shared* side: each lane loads 4 of the 32 lines and subgroupBroadcast shows them to all.
//
// Tile: SHARED_TILE (16 or 32) x OWNED_TILE (32 or 64). A product of 4x4 blocks is one mat4x4
// multiplication, and the transposes only rename registers. Lanes own columns of C; with OWN_ROWS
// they own rows, for products with few columns (LoRA's rank).
//
// GFLOPS_LINE

override SHARED_TILE: u32 = 32;
override OWNED_TILE: u32 = 64;
override OWN_ROWS: bool = false;

@compute @workgroup_size(8)
fn main(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
  let origin = origin_of(group.z);
  let shared_start = select(group.y, group.x, OWN_ROWS) * SHARED_TILE;
  let own_0 = select(group.x, group.y, OWN_ROWS) * OWNED_TILE + 4 * lane;
  let own_1 = own_0 + 32;
  // With a tile of 16 the lanes 4 to 7 repeat what the lanes 0 to 3 load.
  let shared_lines = shared_lines_of(origin, shared_start + (4 * lane) % SHARED_TILE);
  let lines_0 = owned_lines_of(origin, own_0);
  let lines_1 = owned_lines_of(origin, own_1);

  // Sums by block of 4 shared lines: [shared line][owned line], left and right half of the tile.
  // In a smaller tile the sums that are never stored are dead code and cost nothing.
  var l0: mat4x4<f32>; var l1: mat4x4<f32>; var l2: mat4x4<f32>; var l3: mat4x4<f32>;
  var l4: mat4x4<f32>; var l5: mat4x4<f32>; var l6: mat4x4<f32>; var l7: mat4x4<f32>;
  var r0: mat4x4<f32>; var r1: mat4x4<f32>; var r2: mat4x4<f32>; var r3: mat4x4<f32>;
  var r4: mat4x4<f32>; var r5: mat4x4<f32>; var r6: mat4x4<f32>; var r7: mat4x4<f32>;

  for (var k = 0u; k < params.k; k += 4) {
    let s = load_shared(shared_lines, k);
    let l = transpose(load_owned(lines_0, k));
    let r = transpose(load_owned(lines_1, k));
    let x0 = mat4x4<f32>(
      subgroupBroadcast(s[0], 0), subgroupBroadcast(s[1], 0),
      subgroupBroadcast(s[2], 0), subgroupBroadcast(s[3], 0),
    );
    l0 += l * x0;
    r0 += r * x0;
    let x1 = mat4x4<f32>(
      subgroupBroadcast(s[0], 1), subgroupBroadcast(s[1], 1),
      subgroupBroadcast(s[2], 1), subgroupBroadcast(s[3], 1),
    );
    l1 += l * x1;
    r1 += r * x1;
    let x2 = mat4x4<f32>(
      subgroupBroadcast(s[0], 2), subgroupBroadcast(s[1], 2),
      subgroupBroadcast(s[2], 2), subgroupBroadcast(s[3], 2),
    );
    l2 += l * x2;
    r2 += r * x2;
    let x3 = mat4x4<f32>(
      subgroupBroadcast(s[0], 3), subgroupBroadcast(s[1], 3),
      subgroupBroadcast(s[2], 3), subgroupBroadcast(s[3], 3),
    );
    l3 += l * x3;
    r3 += r * x3;
    let x4 = mat4x4<f32>(
      subgroupBroadcast(s[0], 4), subgroupBroadcast(s[1], 4),
      subgroupBroadcast(s[2], 4), subgroupBroadcast(s[3], 4),
    );
    l4 += l * x4;
    r4 += r * x4;
    let x5 = mat4x4<f32>(
      subgroupBroadcast(s[0], 5), subgroupBroadcast(s[1], 5),
      subgroupBroadcast(s[2], 5), subgroupBroadcast(s[3], 5),
    );
    l5 += l * x5;
    r5 += r * x5;
    let x6 = mat4x4<f32>(
      subgroupBroadcast(s[0], 6), subgroupBroadcast(s[1], 6),
      subgroupBroadcast(s[2], 6), subgroupBroadcast(s[3], 6),
    );
    l6 += l * x6;
    r6 += r * x6;
    let x7 = mat4x4<f32>(
      subgroupBroadcast(s[0], 7), subgroupBroadcast(s[1], 7),
      subgroupBroadcast(s[2], 7), subgroupBroadcast(s[3], 7),
    );
    l7 += l * x7;
    r7 += r * x7;
  }

  store_block(origin.c, shared_start, own_0, l0);
  store_block(origin.c, shared_start + 4, own_0, l1);
  store_block(origin.c, shared_start + 8, own_0, l2);
  store_block(origin.c, shared_start + 12, own_0, l3);
  if (SHARED_TILE > 16) {
    store_block(origin.c, shared_start + 16, own_0, l4);
    store_block(origin.c, shared_start + 20, own_0, l5);
    store_block(origin.c, shared_start + 24, own_0, l6);
    store_block(origin.c, shared_start + 28, own_0, l7);
  }
  if (OWNED_TILE > 32) {
    store_block(origin.c, shared_start, own_1, r0);
    store_block(origin.c, shared_start + 4, own_1, r1);
    store_block(origin.c, shared_start + 8, own_1, r2);
    store_block(origin.c, shared_start + 12, own_1, r3);
    if (SHARED_TILE > 16) {
      store_block(origin.c, shared_start + 16, own_1, r4);
      store_block(origin.c, shared_start + 20, own_1, r5);
      store_block(origin.c, shared_start + 24, own_1, r6);
      store_block(origin.c, shared_start + 28, own_1, r7);
    }
  }
  if (ACTIVATION != 0) {
    // Each lane takes up what it stored itself: a loop compiles much faster than 64 unrolled copies.
    for (var line = 0u; line < SHARED_TILE; line += select(1u, 4u, OWN_ROWS)) {
      for (var i = 0u; i < select(OWNED_TILE / 32, OWNED_TILE / 8, OWN_ROWS); i++) {
        if (OWN_ROWS) {
          activate_stored(origin.c, own_0 + i % 4 + i / 4 * 32, shared_start + line);
        } else {
          activate_stored(origin.c, shared_start + line, own_0 + i * 32);
        }
      }
    }
  }
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

// Stores the sums of 4 shared lines with 4 owned ones.
fn store_block(origin: u32, shared_line: u32, owned: u32, sums: mat4x4<f32>) {
  if (OWN_ROWS) {
    let rows = transpose(sums);
    store(origin, owned, shared_line, rows[0]);
    store(origin, owned + 1, shared_line, rows[1]);
    store(origin, owned + 2, shared_line, rows[2]);
    store(origin, owned + 3, shared_line, rows[3]);
  } else {
    store(origin, shared_line, owned, sums[0]);
    store(origin, shared_line + 1, owned, sums[1]);
    store(origin, shared_line + 2, owned, sums[2]);
    store(origin, shared_line + 3, owned, sums[3]);
  }
}
