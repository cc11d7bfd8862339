// x = softmax(x) along each row, in place. Two passes: the first finds the largest element and the sum of
// exponentials together (Milakov and Gimelshein 2018), the second writes.
//
// x [rows, n]; n is a whole number of Elements

const LOWEST: f32 = -3.4e38;

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let length = params.n / WIDTH;
  let share = share_of(group, groups, lane, params.rows, length);
  let start = share.row * length;

  // The sum of exp(v - highest) so far; a new highest v scales what was summed before.
  var highest = Element() + LOWEST;
  var sum = Element();
  for (var i = share.first; i < share.end; i += ROW_LANES) {
    let v = x[start + i];
    let e = exp(-abs(v - highest));
    sum = select(sum + e, sum * e + 1.0, v > highest);
    highest = max(highest, v);
  }
  let row_highest = row_max(largest(highest), lane);
  let factor = 1.0 / row_sum(total(sum * exp(highest - row_highest)), lane);
  for (var i = share.first; i < share.end; i += ROW_LANES) {
    x[start + i] = exp(x[start + i] - row_highest) * factor;
  }
}
