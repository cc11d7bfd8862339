import type { Random } from "../../random.ts";
import { type Anatomy, falxAt, falxDepth, ORIGIN } from "./anatomy.ts";
import { cross, gradientDirection, normalise, sample, smoothstep, type Vec3 } from "./grid.ts";
import { SmoothNoise } from "./noise.ts";

/** Where a meningioma grows from: the dura of the skull, or the falx on one side. */
export interface Site {
  /** Outer side of the brain, its underside, or the fold between its halves. */
  readonly kind: "convexity" | "skull base" | "falx";
  /** On the dura, in the anatomy's voxels (mm). */
  readonly base: Vec3;
  /** Away from the dura, into the brain. */
  readonly inward: Vec3;
}

interface Ellipsoid {
  readonly centre: Vec3; // in the tumour's frame: two directions along the dura, one inward
  readonly axes: Vec3;
}

/** What {@linkcode Tumour.at} says about a point. */
export interface TumourPoint {
  /** Signed distance to the border in mm, negative inside; about right near the border. */
  border: number;
  /** The same without the cut at the dura. */
  uncut: number;
  /** Depth below the dura that the tumour grows from, in mm. */
  depth: number;
}

/** A simulated meningioma: its shape, and how it pushes the brain away. */
export class Tumour {
  /** Where it grows from. */
  readonly site: Site;
  /** In mm: the radius that its lobes were drawn from. */
  readonly radius: number;
  readonly #anatomy: Anatomy;
  readonly #along: readonly [Vec3, Vec3];
  readonly #lobes: readonly Ellipsoid[];
  readonly #noise: SmoothNoise;
  readonly #roughness: number;
  readonly #push: number;
  readonly #side: number; // of the falx: -1 right, 1 left, 0 if it may grow across the middle
  readonly #point: TumourPoint = { border: 0, uncut: 0, depth: 0 };

  /** Draws site, size and shape. */
  constructor(anatomy: Anatomy, random: Random) {
    this.#anatomy = anatomy;
    this.site = drawSite(anatomy, random.fork("site"));
    const r = Math.min(26, Math.max(8, 16 * Math.exp(0.32 * random.normal())));
    this.radius = r;

    const { inward, base, kind } = this.site;
    const first = normalise(cross(inward, Math.abs(inward[2]) < 0.8 ? [0, 0, 1] : [0, 1, 0]));
    this.#along = [first, cross(inward, first)];
    const main: Ellipsoid = {
      centre: [0, 0, r * random.uniformIn(0.25, 0.6)],
      axes: [
        r * random.uniformIn(0.9, 1.25),
        r * random.uniformIn(0.85, 1.15),
        r * random.uniformIn(0.75, 1.05),
      ],
    };
    const lobes = [main];
    for (let lobe = random.int(5); lobe > 0; lobe--) {
      const angle = random.uniformIn(0, 2 * Math.PI);
      const climb = random.uniformIn(-0.2, 1);
      const size = r * random.uniformIn(0.35, 0.65);
      const reach = random.uniformIn(0.55, 0.85);
      lobes.push({
        centre: [
          reach * main.axes[0] * Math.cos(angle) * Math.sqrt(1 - climb * climb),
          reach * main.axes[1] * Math.sin(angle) * Math.sqrt(1 - climb * climb),
          main.centre[2] + reach * main.axes[2] * climb,
        ],
        axes: [size, size * random.uniformIn(0.8, 1.2), size],
      });
    }
    this.#lobes = lobes;
    this.#noise = new SmoothNoise(random.fork("border"));
    this.#roughness = random.uniformIn(0.04, 0.12);
    this.#push = random.uniformIn(0.5, 0.85);
    const offset = base[0] - falxAt(anatomy, base[1], base[2]);
    this.#side = kind === "falx"
      ? Math.sign(inward[0])
      : Math.abs(offset) < 4
      ? 0
      : Math.sign(offset);
  }

  /** No part of it, its oedema or its dural tail is farther than this from the base, in mm. */
  get reach(): number {
    return 2.4 * this.radius + 16;
  }

  /** The distances at a point of the anatomy; the object returned is reused by the next call. */
  at(x: number, y: number, z: number): TumourPoint {
    const { base, inward, kind } = this.site;
    const dx = x - base[0], dy = y - base[1], dz = z - base[2];
    const [a, b] = this.#along;
    const u = dx * a[0] + dy * a[1] + dz * a[2];
    const v = dx * b[0] + dy * b[1] + dz * b[2];
    const w = dx * inward[0] + dy * inward[1] + dz * inward[2];
    const r = this.radius;

    let uncut = Infinity;
    for (const { centre, axes } of this.#lobes) {
      const p = (u - centre[0]) / axes[0], q = (v - centre[1]) / axes[1];
      const s = (w - centre[2]) / axes[2];
      const k = Math.hypot(p, q, s);
      // |f| / |grad f| for f = k - 1: the distance to first order.
      const slope = Math.hypot(p / axes[0], q / axes[1], s / axes[2]) / Math.max(k, 1e-6);
      const distance = k < 1e-3 ? -Math.min(...axes) : (k - 1) / Math.max(slope, 1e-6);
      uncut = smoothMin(uncut, distance, 0.18 * r);
    }
    const coarse = 1 / (0.75 * r), fine = 1 / (0.3 * r);
    uncut -= r * this.#roughness * (this.#noise.at(x * coarse, y * coarse, z * coarse) +
      0.4 * this.#noise.at(x * fine + 7, y * fine, z * fine));

    const skull = sample(this.#anatomy.dura, x, y, z);
    const middle = this.#side === 0
      ? -Infinity
      : this.#side * (falxAt(this.#anatomy, y, z) - x) + 0.5;
    const point = this.#point;
    point.uncut = uncut;
    point.border = Math.max(uncut, skull - 0.8, middle);
    point.depth = kind === "falx" ? -middle : -skull;
    return point;
  }

  /** How much a point lies above or below the tumour's middle: 0 beside it, 1 straight up or down. */
  latitude(x: number, y: number, z: number): number {
    const { base, inward } = this.site;
    const depth = this.#lobes[0].centre[2];
    const dx = x - base[0] - depth * inward[0];
    const dy = y - base[1] - depth * inward[1];
    const dz = z - base[2] - depth * inward[2];
    return Math.abs(dz) / Math.max(1, Math.hypot(dx, dy, dz));
  }

  /**
   * Where the brain now at a point lay before the tumour grew: growth from the base outward pushes
   * most of its volume's worth of tissue ahead of it. Written to `out`.
   */
  before(x: number, y: number, z: number, out: Float64Array): void {
    const { base, inward, kind } = this.site;
    const dx = x - base[0], dy = y - base[1], dz = z - base[2];
    const [a, b] = this.#along;
    const { axes, centre } = this.#lobes[0];
    const rho = Math.hypot(
      (dx * a[0] + dy * a[1] + dz * a[2]) / axes[0],
      (dx * b[0] + dy * b[1] + dz * b[2]) / axes[1],
      (dx * inward[0] + dy * inward[1] + dz * inward[2]) / (axes[2] + centre[2]),
    );
    // Volume is kept along each ray: before^3 = now^3 - push * tumour^3, in tumour radii.
    let keep = Math.cbrt(Math.max(0.1, 1 - this.#push / Math.max(rho, 1) ** 3));
    if (kind === "falx") {
      // The falx is stiff: the other hemisphere hardly moves.
      const across = this.#side * (x - falxAt(this.#anatomy, y, z));
      keep = 1 - (1 - keep) * smoothstep(-8, 0, across);
    }
    out[0] = base[0] + keep * dx;
    out[1] = base[1] + keep * dy;
    out[2] = base[2] + keep * dz;
  }
}

/** A union whose seam is rounded over a width of `k`. */
function smoothMin(a: number, b: number, k: number): number {
  if (a === Infinity) return b;
  const h = Math.max(0, k - Math.abs(a - b)) / k;
  return Math.min(a, b) - h * h * k * 0.25;
}

/** Convexity and parasagittal 60 %, falx 20 %, anterior and middle skull base 20 %. */
function drawSite(anatomy: Anatomy, random: Random): Site {
  const { dura } = anatomy;
  const [nx, ny, nz] = dura.shape;
  const choice = random.uniform();
  const kind = choice < 0.6 ? "convexity" : choice < 0.8 ? "falx" : "skull base";
  while (true) {
    const y = random.uniformIn(0, ny - 1), z = random.uniformIn(20, nz - 1);
    if (kind === "falx") {
      const x = falxAt(anatomy, y, z);
      const depth = -sample(dura, x, y, z);
      if (depth < 6 || depth > falxDepth(y, z) - 8) continue;
      return { kind, base: [x, y, z], inward: [random.uniform() < 0.5 ? -1 : 1, 0, 0] };
    }
    const x = random.uniformIn(0, nx - 1);
    if (Math.abs(sample(dura, x, y, z)) > 0.5) continue;
    const outward = gradientDirection(dura, [x, y, z], 4);
    const below = outward[2] < -0.35;
    // Below, only the floor of the anterior and middle fossae; never the closed gap at the brainstem.
    const floor = below && y < ORIGIN[1] + 5 && z > ORIGIN[2] - 38;
    if (kind === "skull base" ? !floor : below || z < ORIGIN[2] - 20) continue;
    return { kind, base: [x, y, z], inward: [-outward[0], -outward[1], -outward[2]] };
  }
}
