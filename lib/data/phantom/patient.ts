import type { Random } from "../../random.ts";
import { createVolume, type Volume } from "../../formats/volume.ts";
import type { Anatomy } from "./anatomy.ts";
import { enhance, OUTER_LIMIT } from "./contrast_agent.ts";
import { Deformation } from "./deformation.ts";
import { sample, smoothstep } from "./grid.ts";
import { SmoothNoise, WhiteNoise } from "./noise.ts";
import { Tumour } from "./tumour.ts";

/** A scan of a simulated patient. */
export interface PatientScan {
  /** T1 with contrast, skull-stripped, whole numbers from 0 to 255. */
  readonly t1c: Volume;
  /** BraTS-MEN's labels: 1 non-enhancing core, 2 oedema, 3 enhancing tumour. */
  readonly seg: Volume;
  /** What was simulated, in the anatomy's coordinates. */
  readonly tumour: Tumour;
}

/** The scanned box in mm: x to the left, y to the back, z up. */
const FIELD_OF_VIEW = [192, 192, 152] as const;

/** Where its centre lies in the anatomy. */
const CENTRE = [80, 95.5, 74] as const;

/**
 * Simulates one patient: the anatomy deformed, enhanced, with a meningioma that displaces the brain,
 * seen through a scanner's bias field and noise.
 *
 * The tumour's label and its picture are one geometry: a voxel belongs to the tumour where at least
 * half of it does, and brightness crosses over linearly about that border.
 *
 * @param spacing Voxel size in the axial plane in mm; slices are twice as thick.
 */
export function simulatePatient(anatomy: Anatomy, spacing: number, random: Random): PatientScan {
  const tumour = new Tumour(anatomy, random.fork("tumour"));
  const look = drawLook(random.fork("look"));
  const tissue = enhance(anatomy, look, random.fork("contrast agent"));
  const toAnatomy = drawPose(random.fork("pose"));
  const deformation = new Deformation(
    { extent: FIELD_OF_VIEW, knots: 26, shift: 3.2, gain: 0.12 },
    random.fork("deformation"),
  );
  const stripping = new SmoothNoise(random.fork("stripping"));
  const lesion = new Lesion(tumour, look, random.fork("lesion"));
  const noise = new WhiteNoise(random.fork("noise"));

  const voxel = [spacing, spacing, 2 * spacing] as const;
  const shape = FIELD_OF_VIEW.map((mm, axis) => Math.round(mm / voxel[axis]));
  const [nx, ny, nz] = shape;
  const image = new Float32Array(nx * ny * nz);
  const labels = new Float32Array(nx * ny * nz);
  const { base } = tumour.site;
  const reach = tumour.reach;
  const origin = new Float64Array(3);
  for (let k = 0, at = 0; k < nz; k++) {
    const pz = (k + 0.5) * voxel[2];
    for (let j = 0; j < ny; j++) {
      const py = (j + 0.5) * voxel[1];
      deformation.setRow(py, pz);
      for (let i = 0; i < nx; i++, at++) {
        const px = (i + 0.5) * voxel[0];
        const cx = px - FIELD_OF_VIEW[0] / 2;
        const cy = py - FIELD_OF_VIEW[1] / 2;
        const cz = pz - FIELD_OF_VIEW[2] / 2;
        const m = toAnatomy;
        const x = CENTRE[0] + m[0] * cx + m[1] * cy + m[2] * cz + deformation.at(0, px);
        const y = CENTRE[1] + m[3] * cx + m[4] * cy + m[5] * cz + deformation.at(1, px);
        const z = CENTRE[2] + m[6] * cx + m[7] * cy + m[8] * cz + deformation.at(2, px);
        const skull = sample(anatomy.dura, x, y, z);
        if (skull > OUTER_LIMIT) continue; // air: a stripped volume is 0 there

        const dx = x - base[0], dy = y - base[1], dz = z - base[2];
        const distance = Math.sqrt(dx * dx + dy * dy + dz * dz);
        let value: number;
        if (distance < 4 * reach) {
          tumour.before(x, y, z, origin);
          value = sample(tissue, origin[0], origin[1], origin[2]);
        } else {
          value = sample(tissue, x, y, z);
        }
        let stripped = skull > 1.4 + 1.2 * stripping.at(x / 18, y / 18, z / 18);
        if (distance < reach) {
          value = lesion.paint(value, x, y, z);
          labels[at] = lesion.label;
          if (lesion.extraAxial) stripped = false;
        }
        if (stripped) {
          labels[at] = 0;
          continue;
        }
        value *= deformation.at(3, px);
        // Rician: the magnitude of a complex signal with noise in both parts.
        const real = value + look.noise * noise.next();
        const imaginary = look.noise * noise.next();
        const brightness = look.level * Math.sqrt(real * real + imaginary * imaginary);
        image[at] = Math.min(255, Math.max(1, Math.round(brightness)));
      }
    }
  }

  // RAS coordinates in mm about the box's centre: x runs to the left, y to the back, z up.
  const affine = Float64Array.of(
    ...[-voxel[0], 0, 0, (FIELD_OF_VIEW[0] - voxel[0]) / 2],
    ...[0, -voxel[1], 0, (FIELD_OF_VIEW[1] - voxel[1]) / 2],
    ...[0, 0, voxel[2], (voxel[2] - FIELD_OF_VIEW[2]) / 2],
    ...[0, 0, 0, 1],
  );
  const description = "Colin27 with a simulated meningioma";
  const options = { shape: [nx, ny, nz] as const, spacing: voxel, affine, description };
  return { t1c: createVolume(image, options), seg: createVolume(labels, options), tumour };
}

interface PatientLook {
  csf: number;
  gamma: number;
  blood: number;
  dura: number;
  /** Grey levels of white matter. */
  level: number;
  /** Standard deviation of the noise; white matter is 1. */
  noise: number;
}

function drawLook(random: Random): PatientLook {
  return {
    csf: random.uniformIn(0.14, 0.3),
    gamma: random.uniformIn(0.45, 1.15),
    blood: random.uniformIn(1.25, 1.9),
    dura: random.uniformIn(0.9, 1.5),
    level: random.uniformIn(75, 105),
    noise: random.uniformIn(0.02, 0.06),
  };
}

/** A small rotation with scaling, and for every second patient left and right exchanged; 3 x 3. */
function drawPose(random: Random): Float64Array {
  const [a, b, c] = [0.035, 0.035, 0.07].map((sigma) => sigma * random.normal());
  const size = random.uniformIn(0.96, 1.06);
  const scale = [0, 1, 2].map(() => 1 / (size * random.uniformIn(0.97, 1.03)));
  if (random.uniform() < 0.5) scale[0] = -scale[0];
  const [ca, sa, cb, sb] = [Math.cos(a), Math.sin(a), Math.cos(b), Math.sin(b)];
  const [cc, sc] = [Math.cos(c), Math.sin(c)];
  const rotation = [
    ...[cc * cb, cc * sb * sa - sc * ca, cc * sb * ca + sc * sa],
    ...[sc * cb, sc * sb * sa + cc * ca, sc * sb * ca - cc * sa],
    ...[-sb, cb * sa, cb * ca],
  ];
  return Float64Array.from(rotation, (value, i) => scale[Math.floor(i / 3)] * value);
}

/** What the tumour and its surroundings look like. */
class Lesion {
  /** Of the point last painted: 0, 1 core, 2 oedema, 3 enhancing tumour. */
  label = 0;
  /** Whether that point is tumour or dural tail, which stripping the skull leaves in place. */
  extraAxial = false;

  readonly #tumour: Tumour;
  readonly #csf: number;
  readonly #texture: SmoothNoise;
  readonly #brightness: number;
  readonly #mottling: number;
  readonly #edge: number; // width in mm over which brightness crosses over at the border
  readonly #cleft: number; // mm; 0 for none
  readonly #tail: number; // length in mm; 0 for none
  readonly #core: number; // radius in mm; 0 for none
  readonly #oedema: number; // mm; 0 for none

  constructor(tumour: Tumour, look: PatientLook, random: Random) {
    this.#tumour = tumour;
    this.#csf = look.csf;
    this.#texture = new SmoothNoise(random.fork("texture"));
    const faint = random.uniform() < 0.2;
    this.#brightness = faint ? random.uniformIn(1.1, 1.28) : random.uniformIn(1.28, 1.85);
    this.#mottling = random.uniformIn(0.02, 0.1);
    this.#edge = random.uniformIn(1.3, 2.2);
    this.#cleft = random.uniform() < 0.6 ? random.uniformIn(0.8, 1.8) : 0;
    this.#tail = random.uniform() < 0.7 ? random.uniformIn(7, 17) : 0;
    const cored = tumour.radius > 11 && random.uniform() < 0.2;
    this.#core = cored ? tumour.radius * random.uniformIn(0.15, 0.35) : 0;
    this.#oedema = random.uniform() < 0.25 ? random.uniformIn(3, 8) : 0;
  }

  /** The brightness at a point whose healthy tissue has brightness `value`; white matter is 1. */
  paint(value: number, x: number, y: number, z: number): number {
    const { border, uncut, depth } = this.#tumour.at(x, y, z);
    const texture = this.#texture;
    const radius = this.#tumour.radius;
    this.label = 0;
    this.extraAxial = false;
    const skin = this.#tumour.site.kind === "falx" ? depth : depth + 0.8; // below the cut at the dura

    if (this.#oedema > 0 && border > -3 && border < this.#oedema + 4 && skin > 0) {
      // Swollen white matter: wider in places, none at the dura. None at the tumour's poles either,
      // or axial slices would show oedema alone, which T1 hardly tells from grey matter.
      const width = this.#oedema * smoothstep(0.1 * radius, 0.7 * radius, skin) *
        (1 - smoothstep(0.45, 0.85, this.#tumour.latitude(x, y, z))) *
        (0.8 + 0.5 * texture.at(x / 11 + 3, y / 11, z / 11));
      const fraction = width > 0.5 ? clamp(0.5 + (width - border) / 3) : 0;
      const brightness = 0.55 + 0.04 * texture.at(x / 4, y / 4 + 17, z / 4);
      value += 0.85 * fraction * (brightness - value);
      if (fraction >= 0.5) this.label = 2;
    }

    if (this.#cleft > 0 && border < 4) {
      const width = this.#cleft * (0.75 + 0.9 * texture.at(x / 9, y / 9 + 5, z / 9));
      const fraction = clamp(0.5 + (width - border) / 1.2);
      value += 0.8 * fraction * (this.#csf - value);
    }

    if (this.#tail > 0 && uncut < this.#tail) {
      const length = this.#tail * (0.7 + 0.6 * texture.at(x / 13, y / 13, z / 13 + 9));
      const thickness = 2.4 * (1 - uncut / Math.max(length, 1));
      const fraction = clamp(0.5 + Math.min(skin, thickness - skin));
      if (thickness > 0 && fraction > 0) {
        value += fraction * (0.8 * this.#brightness - value);
        if (fraction >= 0.5) this.extraAxial = true;
      }
    }

    const fraction = clamp(0.5 - border / this.#edge);
    if (fraction > 0) {
      const mottled = this.#brightness *
        (1 + this.#mottling * (texture.at(x / 5, y / 5, z / 5) + texture.at(x / 2, y / 2, z / 2)));
      let inner = mottled;
      let necrotic = 0;
      if (this.#core > 0) {
        // The core keeps a rim of enhancing tumour round it.
        const level = radius - this.#core;
        const wobble = 0.25 * radius * texture.at(x / 8, y / 8 + 11, z / 8);
        necrotic = clamp(0.5 + (-border - level * 0.62 + wobble) / 2) * clamp(-border / 2 - 0.5);
        inner += necrotic * (0.5 - mottled);
      }
      value += fraction * (inner - value);
      if (fraction >= 0.5) {
        this.label = necrotic >= 0.5 ? 1 : 3;
        this.extraAxial = true;
      }
    }
    return value;
  }
}

function clamp(x: number): number {
  return x < 0 ? 0 : x > 1 ? 1 : x;
}
