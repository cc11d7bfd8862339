// dp = p (dp - sum(p dp)) along each row, in place: turns the gradient of a softmax's output p into that of its
// input.
//
// p and dp [rows, n]; n is a whole number of Elements

@compute @workgroup_size(64)
fn main(
  @builtin(workgroup_id) group: vec3<u32>,
  @builtin(num_workgroups) groups: vec3<u32>,
  @builtin(local_invocation_index) lane: u32,
) {
  let length = params.n / WIDTH;
  let share = share_of(group, groups, lane, params.rows, length);
  let start = share.row * length;
  var sum = Element();
  for (var i = share.first; i < share.end; i += ROW_LANES) {
    sum += load_p(start + i) * dp[start + i];
  }
  let row_total = row_sum(total(sum), lane);
  for (var i = share.first; i < share.end; i += ROW_LANES) {
    dp[start + i] = load_p(start + i) * (dp[start + i] - row_total);
  }
}
