// The walk over the keys by LINEAR blocks of four. walk_grid.wgsl has the same function for the others: one with both
// loops would hold a copy of every sum for the loop that runs once.

fn walk(head: u32, own: Tokens, keys: Region, lane: u32) {
  for (var x = 0u; x < keys.height * keys.width; x += 4) {
    take_block(head, own, keys, mat4x4<f32>(), 0u, x, lane);
  }
}
