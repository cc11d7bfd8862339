// x = softmax(x + bias_h[key's row] + bias_w[key's column]) along each row of scores, in place, for keys
// on a grid of height x width; width counts Elements, and so does the stride, whose filling is set to
// 0. Two passes as in softmax.wgsl. Every row of scores has its own bias rows.
struct Params { rows: u32, height: u32, width: u32, stride: u32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read_write> x: array<Element>;
@group(0) @binding(2) var<storage, read> bias_h: array<f32>;
@group(0) @binding(3) var<storage, read> bias_w: array<Element>;

const LOWEST: f32 = -3.4e38;

// A key's row and column, counted on instead of divided: divisions cost more than exponentials.
struct Key { y: u32, x: u32 }

fn next(key: Key) -> Key {
  let column = key.x + ROW_LANES % params.width;
  let carry = u32(column >= params.width);
  return Key(key.y + ROW_LANES / params.width + carry, column - carry * params.width);
}

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let length = params.height * params.width;
  let share = share_of(group, groups, lane, params.rows, length);
  let start = share.row * params.stride;
  let h = share.row * params.height;
  let w = share.row * params.width;
  let first = Key(share.first / params.width, share.first % params.width);

  var highest = Element() + LOWEST;
  var sum = Element();
  var key = first;
  for (var i = share.first; i < share.end; i += ROW_LANES) {
    let v = x[start + i] + bias_h[h + key.y] + bias_w[w + key.x];
    let e = exp(-abs(v - highest));
    sum = select(sum + e, sum * e + 1.0, v > highest);
    highest = max(highest, v);
    key = next(key);
  }
  let row_highest = row_max(largest(highest), lane);
  let factor = 1.0 / row_sum(total(sum * exp(highest - row_highest)), lane);
  key = first;
  for (var i = share.first; i < share.end; i += ROW_LANES) {
    let v = x[start + i] + bias_h[h + key.y] + bias_w[w + key.x];
    x[start + i] = exp(v - row_highest) * factor;
    key = next(key);
  }
  if (share.end == 0) { return; }
  for (var i = length + share.first; i < params.stride; i += ROW_LANES) { x[start + i] = Element(); }
}
