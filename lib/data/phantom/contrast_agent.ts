import type { Random } from "../../random.ts";
import { type Anatomy, falxAt, falxDepth, ORIGIN } from "./anatomy.ts";
import { gradientDirection, type Grid, normalise, sample, smoothstep, type Vec3 } from "./grid.ts";
import { SmoothNoise } from "./noise.ts";

/** Beyond this distance outside the dura nothing is ever drawn, in mm. */
export const OUTER_LIMIT = 5;

/** How one patient's T1 with contrast looks; brightness in units of white matter's. */
export interface Look {
  /** Of cerebrospinal fluid. */
  readonly csf: number;
  /** The exponent of the curve from cerebrospinal fluid to white matter; below 1 flattens grey. */
  readonly gamma: number;
  /** Of venous blood. */
  readonly blood: number;
  /** Of enhancing dura, falx and plexus. */
  readonly dura: number;
}

/**
 * The T1 volume as it would look after contrast agent, white matter at 1: grey-to-white contrast by a
 * curve of the patient's own, fluid in the sulci, and what enhances in a healthy head (dura in
 * patches, falx, sagittal and transverse sinuses, cortical veins, arteries, choroid plexus), so that
 * not every bright spot is a tumour.
 */
export function enhance(anatomy: Anatomy, look: Look, random: Random): Grid {
  const { t1, dura } = anatomy;
  const [nx, ny, nz] = t1.shape;
  const curve = Float32Array.from({ length: 256 }, (_, value) => {
    const t = Math.min(1.25, Math.max(0, (value / 205 - 0.3) / 0.7));
    return look.csf + (1 - look.csf) * t ** look.gamma;
  });
  const patches = new SmoothNoise(random.fork("patches"));
  const transverse = ORIGIN[2] - random.uniformIn(14, 22);
  const sinusScale = random.uniformIn(0.7, 1.15);
  const data = new Float32Array(t1.data.length);
  for (let k = 0; k < nz; k++) {
    for (let j = 0; j < ny; j++) {
      const row = nx * (j + ny * k);
      const middle = anatomy.falx[j + ny * k];
      const hang = falxDepth(j, k);
      const sagittal = sinusScale * (1.2 + 2.6 * Math.min(1, j / 150)) *
        smoothstep(ORIGIN[2] - 12, ORIGIN[2] + 12, k);
      const lateral = j > 118 ? sinusScale * 3 : 0;
      for (let i = 0; i < nx; i++) {
        const d = dura.data[row + i]; // negative inside
        if (d > OUTER_LIMIT || d < -70) continue;
        const within = 1 - smoothstep(-0.5, 1.2, d);
        let value = within * curve[Math.round(t1.data[row + i])];

        if (Math.abs(d - 1) < 2) {
          const patch = smoothstep(-0.1, 0.7, patches.at(i / 14, j / 14, k / 14));
          value += patch * Math.max(0, 1 - Math.abs(d - 0.9)) * (look.dura - value);
        }
        const x = i - middle;
        if (hang > 0 && Math.abs(x) < 1.6 && -d < hang) {
          const patch = 0.35 + 0.5 * smoothstep(-0.3, 0.8, patches.at(90, j / 12, k / 12));
          value += patch * Math.max(0, 1.1 - Math.abs(x)) / 1.1 * (look.dura - value);
        }
        if (sagittal > 0 && Math.abs(x) < 6) {
          // Triangular in section: broad at the skull.
          const radius = sagittal * (1 + 0.25 * Math.min(1, Math.max(-1, d / 3)));
          const fraction = clamp(radius + 0.5 - Math.hypot(x, d - 0.5));
          value += fraction * (look.blood - value);
        }
        if (lateral > 0 && Math.abs(k - transverse) < 6) {
          const fraction = clamp(lateral + 0.5 - Math.hypot(k - transverse, d - 0.8));
          value += fraction * (look.blood - value);
        }
        data[row + i] = value;
      }
    }
  }
  const enhanced = { data, shape: t1.shape };
  drawVeins(enhanced, anatomy, look.blood, random.fork("veins"));
  drawArteries(enhanced, anatomy, look.blood, random.fork("arteries"));
  drawPlexus(enhanced, anatomy, look.dura, random.fork("plexus"));
  return enhanced;
}

/** Cortical veins: under the dura, up towards the sagittal sinus. */
function drawVeins(image: Grid, anatomy: Anatomy, brightness: number, random: Random): void {
  const { dura } = anatomy;
  const [nx, ny, nz] = dura.shape;
  for (let vein = 10 + random.int(8); vein > 0;) {
    let point: Vec3 = [
      random.uniformIn(0, nx - 1),
      random.uniformIn(15, ny - 15),
      random.uniformIn(ORIGIN[2] + 5, nz - 15),
    ];
    if (Math.abs(sample(dura, ...point)) > 3) continue;
    vein--;
    const radius = random.uniformIn(0.7, 1.4);
    const swing = random.uniformIn(-0.6, 0.6);
    let wander = 0;
    for (let step = 20 + random.int(30); step > 0; step--) {
      const out = gradientDirection(dura, point, 3);
      const home = falxAt(anatomy, point[1], point[2]) - point[0];
      if (Math.abs(home) < 3) break;
      wander = 0.85 * wander + 0.35 * random.normal();
      const along = [Math.sign(home), swing + wander, 0.8] as const;
      const outward = along[0] * out[0] + along[1] * out[1] + along[2] * out[2];
      const way = normalise([
        along[0] - outward * out[0],
        along[1] - outward * out[1],
        along[2] - outward * out[2],
      ]);
      const off = sample(dura, ...point) + 1.8; // keep 1.8 mm below the dura
      point = [
        point[0] + 1.2 * way[0] - 0.5 * off * out[0],
        point[1] + 1.2 * way[1] - 0.5 * off * out[1],
        point[2] + 1.2 * way[2] - 0.5 * off * out[2],
      ];
      drawBall(image, point, { radius, brightness });
    }
  }
}

/** Arteries and deep veins: paths that keep to the fluid of fissures and cisterns. */
function drawArteries(
  image: Grid,
  { t1, dura }: Anatomy,
  brightness: number,
  random: Random,
): void {
  const [nx, ny, nz] = t1.shape;
  for (let artery = 10; artery > 0;) {
    let point: Vec3 = [
      random.uniformIn(20, nx - 20),
      random.uniformIn(25, ny - 40),
      random.uniformIn(ORIGIN[2] - 20, Math.min(nz, ORIGIN[2] + 25)),
    ];
    const value = sample(t1, ...point);
    if (value > 80 || sample(dura, ...point) > -8) continue;
    artery--;
    const radius = random.uniformIn(0.8, 1.2);
    let way = normalise([random.normal(), random.normal(), random.normal()]);
    for (let step = 12 + random.int(20); step > 0; step--) {
      let best = way, darkest = Infinity;
      for (let trial = 0; trial < 6; trial++) {
        const turned = normalise([
          way[0] + 0.5 * random.normal(),
          way[1] + 0.5 * random.normal(),
          way[2] + 0.5 * random.normal(),
        ]);
        const ahead = sample(
          t1,
          point[0] + 2 * turned[0],
          point[1] + 2 * turned[1],
          point[2] + 2 * turned[2],
        );
        if (ahead < darkest) [darkest, best] = [ahead, turned];
      }
      if (darkest > 130) break;
      way = best;
      point = [point[0] + 0.8 * way[0], point[1] + 0.8 * way[1], point[2] + 0.8 * way[2]];
      drawBall(image, point, { radius, brightness });
    }
  }
}

/** Choroid plexus in the trigones of the lateral ventricles. */
function drawPlexus(image: Grid, { t1 }: Anatomy, brightness: number, random: Random): void {
  for (const side of [-1, 1]) {
    for (let tuft = 0; tuft < 7; tuft++) {
      const point: Vec3 = [
        ORIGIN[0] + side * (23 + 2.5 * random.normal()),
        ORIGIN[1] + 38 + 3 * random.normal(),
        ORIGIN[2] + 10 + 4 * random.normal(),
      ];
      if (sample(t1, ...point) > 110) continue;
      drawBall(image, point, { radius: random.uniformIn(1, 2.2), brightness });
    }
  }
}

/** Brightens a ball; voxels cut by its surface take their share. */
function drawBall(
  { data, shape: [nx, ny, nz] }: Grid,
  [x, y, z]: Vec3,
  { radius, brightness }: { radius: number; brightness: number },
): void {
  const reach = radius + 1;
  const from = (c: number) => Math.max(0, Math.ceil(c - reach));
  const to = (c: number, n: number) => Math.min(n - 1, Math.floor(c + reach));
  for (let k = from(z); k <= to(z, nz); k++) {
    for (let j = from(y); j <= to(y, ny); j++) {
      for (let i = from(x); i <= to(x, nx); i++) {
        const fraction = clamp(radius + 0.5 - Math.hypot(i - x, j - y, k - z));
        const at = i + nx * (j + ny * k);
        data[at] = Math.max(data[at], data[at] + fraction * (brightness - data[at]));
      }
    }
  }
}

function clamp(x: number): number {
  return x < 0 ? 0 : x > 1 ? 1 : x;
}
