
// The products of own tokens in $own with others in $other, summed over all channels.
fn products_$own_$other(local: u32, head: u32) -> mat4x4<f32> {
  var s = mat4x4<f32>();
  for (var first = 0u; first < QUADS; first += 4) {
    workgroupBarrier();
    let quad = local % 4;
    let inside = first + quad < QUADS;
    for (var token = local / 4; token < 64; token += 32) {
      var x = vec4<f32>();
      if (inside) { x = load_$own(at_$own(head, own_rows[token]), first + quad); }
      staged[64 * quad + token % 4 * 16 + token / 4] = x;
    }
    let token = local / 4;
    var x = vec4<f32>();
    if (inside) { x = load_$other(at_$other(head, other_rows[token]), first + quad); }
    staged[256 + 32 * quad + token % 4 * 8 + token / 4] = x;
    workgroupBarrier();
    s += staged_products(local);
  }
  return s;
}

// Stages 8 vec4s of each of the others in $other, from `first` on.
fn stage_$other(local: u32, head: u32, first: u32) {
  workgroupBarrier();
  let quad = first + local % 8;
  for (var token = local / 8; token < OTHERS; token += 16) {
    var x = vec4<f32>();
    if (quad < QUADS) { x = load_$other(at_$other(head, other_rows[token]), quad); }
    staged[8 * token + local % 8] = x;
  }
  workgroupBarrier();
}
