// Reductions over a row. Each row goes to one invocation, which suits CPU drivers (no barrier) as long
// as there are rows enough, or to the 64 of a workgroup, whose neighbours then read neighbouring
// memory, as GPUs like it.
override ROW_LANES: u32 = 1; // 1 or 64
const GROUP: u32 = 64;
var<workgroup> partial: array<f32, 64>;

// Part of an invocation: elements first, first + ROW_LANES, ... of a row. One beyond the last
// row has end = 0 and works at nothing, but takes part in the barriers.
struct Share { row: u32, first: u32, end: u32 }

fn share_of(group: vec3<u32>, groups: vec3<u32>, lane: u32, rows: u32, length: u32) -> Share {
  let flat = group.y * groups.x + group.x;
  let row = select(flat, flat * GROUP + lane, ROW_LANES == 1);
  return Share(row, select(lane, 0, ROW_LANES == 1), select(0, length, row < rows));
}

fn row_sum(value: f32, lane: u32) -> f32 {
  if (ROW_LANES == 1) { return value; }
  partial[lane] = value;
  workgroupBarrier();
  for (var step = GROUP / 2; step > 0; step /= 2) {
    if (lane < step) { partial[lane] += partial[lane + step]; }
    workgroupBarrier();
  }
  let result = partial[0];
  workgroupBarrier();
  return result;
}

fn row_max(value: f32, lane: u32) -> f32 {
  if (ROW_LANES == 1) { return value; }
  partial[lane] = value;
  workgroupBarrier();
  for (var step = GROUP / 2; step > 0; step /= 2) {
    if (lane < step) { partial[lane] = max(partial[lane], partial[lane + step]); }
    workgroupBarrier();
  }
  let result = partial[0];
  workgroupBarrier();
  return result;
}
