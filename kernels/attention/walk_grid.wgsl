// The walk over the keys by blocks of four, down the columns of the window, so that the bias of a block's columns is
// read once for all lines. walk_linear.wgsl has the same function for LINEAR blocks, which have no lines.

fn walk(head: u32, own: Tokens, keys: Region, lane: u32) {
  for (var x = 0u; x < keys.width; x += COLUMNS) {
    let across = across_of(head, own, x);
    for (var y = 0u; y < keys.height; y += 4 / COLUMNS) {
      take_block(head, own, keys, across, y, x, lane);
    }
    end_column(head, own, keys, x);
  }
}
