/**
 * Devices as kernels are chosen by: lanes of a CPU driver's subgroups, or a GPU's class with its tiles.
 *
 * @module
 */

/** Tile of a matrix product that a workgroup of a GPU computes: tiled.wgsl. */
export interface ProductTile {
  /** Rows and columns, and threads where several tiles have the same: its name in records. */
  readonly name: string;
  /** Threads along n and m. */
  readonly threads: readonly [x: number, y: number];
  /** Blocks of 4 x 4 results that a thread has along m and n. */
  readonly blocks: readonly [m: number, n: number];
  /** Steps of k that are in workgroup memory at a time: as many as give every thread a block to load. */
  readonly depth: number;
  /** Speed of a busy device in it, the portable tile's being 1: estimates from what others measured. */
  readonly speed: number;
}

/** Tiles of products by their name. */
export const PRODUCT_TILES = [
  // llama.cpp's portable setting, 80 % of each GPU's own best: 4 x 4 results a thread, 8 x 8 threads.
  { name: "32 x 32", threads: [8, 8], blocks: [1, 1], depth: 16, speed: 1 },
  { name: "64 x 64", threads: [16, 16], blocks: [1, 1], depth: 32, speed: 1.1 },
  { name: "128 x 128", threads: [16, 16], blocks: [2, 2], depth: 16, speed: 1.4 },
  // CLBlast's on an RTX 2070: 128 threads.
  { name: "128 x 128, 128 threads", threads: [16, 8], blocks: [4, 2], depth: 16, speed: 1.5 },
] as const satisfies readonly ProductTile[];

/** Name of a tile of products. */
export type ProductTileName = typeof PRODUCT_TILES[number]["name"];

/** Tile of attention that a workgroup of a GPU computes: attention/tiled.wgsl. */
export interface AttentionTile {
  /** Blocks of four tokens that a workgroup owns; it has eight threads for each. */
  readonly blocks: number;
  /** Speed of a busy device in it, that of 16 blocks being 1: estimates. */
  readonly speed: number;
}

/** Tiles of attention, FlashAttention-2's shapes: 32, 64 or 128 own tokens, and 32 others at a time. */
export const ATTENTION_TILES: readonly AttentionTile[] = [
  { blocks: 8, speed: 0.85 },
  { blocks: 16, speed: 1 },
  { blocks: 32, speed: 1.1 },
];

/** A class of GPUs, and the tiles that suit it. */
interface GpuClass {
  readonly name: string;
  /** Its makers, by their names or PCI numbers, as adapters tell them. */
  readonly vendor: RegExp;
  /** Workgroups from which the class's usual cards are busy: their multiprocessors. */
  readonly processors: number;
  readonly products: readonly ProductTileName[];
  /** Blocks of the tiles of attention. */
  readonly attention: readonly number[];
}

/**
 * Classes of GPUs; the last takes what no other does, mobile and integrated GPUs above all, whose threads have few
 * registers. Nothing here was measured by us: `./run gpu-report` times every tile.
 */
export const GPU_CLASSES = [
  {
    name: "NVIDIA",
    vendor: /^(nvidia|4318)$/i,
    processors: 80,
    products: ["32 x 32", "64 x 64", "128 x 128, 128 threads"],
    attention: [8, 16, 32],
  },
  {
    name: "AMD",
    vendor: /^(amd|4098)$/i,
    processors: 40,
    products: ["32 x 32", "64 x 64", "128 x 128"],
    attention: [8, 16],
  },
  {
    name: "Apple",
    vendor: /^(apple|4203)$/i,
    processors: 16,
    products: ["32 x 32", "64 x 64", "128 x 128"],
    attention: [8, 16],
  },
  {
    name: "other",
    vendor: /(?:)/,
    processors: 16,
    products: ["32 x 32", "64 x 64"],
    attention: [8, 16],
  },
] as const satisfies readonly GpuClass[];

/** Limits of a device's workgroups; WebGPU guarantees 256 invocations and 16 KiB. */
export interface WorkgroupLimits {
  /** Invocations of a workgroup. */
  readonly invocations: number;
  /** Bytes of workgroup memory. */
  readonly bytes: number;
}

/** Properties of the device that kernels are chosen by; the same object for the same device. */
export interface KernelTarget {
  /** Number of its own, for keys of caches. */
  readonly id: number;
  /** Lanes of a subgroup of a CPU driver's that kernels may rely on; 0 for the kernels for GPUs. */
  readonly lanes: number;
  /** True if shaders have f16. */
  readonly f16: boolean;
  /** Name of the class of GPUs. */
  readonly gpu: string;
  /** Workgroups from which the device is busy. */
  readonly processors: number;
  /** Tiles of products to choose from. */
  readonly products: readonly ProductTile[];
  /** Tiles of attention to choose from. */
  readonly attention: readonly AttentionTile[];
}

const targets = new Map<string, KernelTarget>();

/** The target that stands for a device. */
export function kernelTarget(
  { lanes = 0, f16 = false, vendor = "", limits = { invocations: 256, bytes: 16384 } }: {
    lanes?: number;
    f16?: boolean;
    vendor?: string;
    limits?: WorkgroupLimits;
  } = {},
): KernelTarget {
  const found: GpuClass = GPU_CLASSES.find((one) => one.vendor.test(vendor))!;
  const key = [lanes, f16, found.name, limits.invocations, limits.bytes].join();
  const known = targets.get(key);
  if (known) return known;
  const fits = (threads: number, bytes: number) =>
    threads <= limits.invocations && bytes <= limits.bytes;
  const target: KernelTarget = {
    id: targets.size,
    lanes,
    f16,
    gpu: found.name,
    processors: found.processors,
    products: PRODUCT_TILES.filter((tile) =>
      found.products.includes(tile.name) &&
      fits(tile.threads[0] * tile.threads[1], productBytes(tile))
    ),
    attention: ATTENTION_TILES.filter(({ blocks }) =>
      found.attention.includes(blocks) && fits(8 * blocks, attentionBytes(blocks))
    ),
  };
  targets.set(key, target);
  return target;
}

/** Rows and columns of a tile. */
export function productSize({ threads: [x, y], blocks: [m, n] }: ProductTile): [number, number] {
  return [4 * y * m, 4 * x * n];
}

/** Workgroup memory of a tile of products, in bytes. */
function productBytes(tile: ProductTile): number {
  const [rows, columns] = productSize(tile);
  return 4 * tile.depth * (rows + columns);
}

/** Workgroup memory of a tile of attention: channels that are staged, numbers that are shown, rows. */
function attentionBytes(blocks: number): number {
  return 16 * (16 * blocks + 128 + 32 * blocks) + 4 * (4 * blocks + 32);
}

/**
 * Time of workgroups that each compute `area` at a speed, up to a factor: few of them leave a device idle.
 */
export function tileCost(
  { processors }: KernelTarget,
  { workgroups, area, speed }: { workgroups: number; area: number; speed: number },
): number {
  return Math.max(1, workgroups / processors) * area / speed;
}
