/**
 * A volume in the memory of the GPU: bricks in an atlas, and a table of pages that finds them.
 *
 * look.glsl reads what is written here.
 */

import {
  COARSEST,
  InrvError,
  REGION,
  type Block,
  type GridInfo,
  type Skeleton,
  type Tile,
} from "../decoder/index.js";
import { scalarAt } from "./volumes.js";
import { textureOf, writeTexels, type Size } from "./textures.js";

/** Voxels of a cell along each axis: each has a page. */
export const CELL = 32;
const CELLS = REGION / CELL; // of a region, along each axis
const NO_BRICK = 15; // in place of a level, in the page of a cell
const ACTIVE = 16; // is added where a cell has active voxels
const MOST_CELLS = 1 << 24; // of a grid: 16 bytes each
const SMALLEST = 1e-37;
const LARGEST = 65504; // of a float16
const HALF_ONE = 0x3c00; // 1 as a float16

/** Samples of a block along each axis: each has a range, so that rays can skip it. */
const BLOCK = 8;

/** Memory of the GPU in which bricks of one size lie. */
export class Atlas {
  readonly texture: WebGLTexture;
  /** The least and the largest value of each block. */
  readonly ranges: WebGLTexture;
  /** Blocks of a brick along each axis. */
  readonly blocks: number;
  /** Samples of a brick along each axis, without its border. */
  readonly brick: number;
  /** Samples of the texture along each axis. */
  readonly size: [number, number, number];
  /** Whether each sample has its value and whether it is active; else its value alone. */
  readonly marks: boolean;
  readonly #gl: WebGL2RenderingContext;
  readonly #free: number[] = [];
  readonly #slots: [number, number, number];

  /**
   * @param count bricks that it has room for, at least
   * @param marks whether active samples are told from others
   */
  constructor(gl: WebGL2RenderingContext, count: number, brick: number, marks: boolean) {
    this.#gl = gl;
    this.brick = brick;
    this.marks = marks;
    const most = Math.floor(Math.min(gl.getParameter(gl.MAX_3D_TEXTURE_SIZE), 2048) / (brick + 1));
    const side = Math.min(most, Math.max(1, Math.ceil(Math.cbrt(count))));
    const deep = Math.min(most, Math.max(1, Math.ceil(count / (side * side))));
    this.#slots = [side, side, deep];
    this.size = this.#slots.map((slots) => slots * (brick + 1)) as [number, number, number];
    this.blocks = Math.ceil(brick / BLOCK);
    const blocks = this.#slots.map((slots) => slots * this.blocks);
    this.ranges = textureOf(gl, gl.RG32F, blocks, gl.NEAREST);
    this.texture = textureOf(gl, marks ? gl.RG16F : gl.R16F, this.size, gl.LINEAR);
    for (let slot = side * side * deep - 1; slot >= 0; slot--) this.#free.push(slot);
  }

  /** Bytes of a brick in it. */
  static bytes(brick: number, marks: boolean): number {
    return (marks ? 4 : 2) * (brick + 1) ** 3;
  }

  /** Bytes on the GPU. */
  get bytes(): number {
    return (this.marks ? 4 : 2) * this.size[0] * this.size[1] * this.size[2];
  }

  get left(): number {
    return this.#free.length;
  }

  take(): number {
    return this.#free.pop()!;
  }

  give(slot: number): void {
    this.#free.push(slot);
  }

  /** The place of a slot: number of the brick along each axis. */
  place(slot: number): [number, number, number] {
    const [x, y] = this.#slots;
    return [slot % x, Math.floor(slot / x) % y, Math.floor(slot / (x * y))];
  }

  /**
   * Writes samples of a slot: x changes first.
   *
   * @param active 1 for each that is active; without it none is
   */
  write(
    slot: number,
    from: readonly number[],
    shape: readonly number[],
    samples: Uint16Array,
    active?: ArrayLike<number>,
  ): void {
    const gl = this.#gl;
    const place = this.place(slot).map((own, axis) => own * (this.brick + 1) + from[axis]!);
    const texels = this.marks ? new Uint16Array(2 * samples.length) : samples;
    if (this.marks)
      samples.forEach((own, at) => {
        texels[2 * at] = own;
        texels[2 * at + 1] = active?.[at] ? HALF_ONE : 0;
      });
    const format = this.marks ? gl.RG : gl.RED;
    writeTexels(gl, this.texture, place, shape, format, gl.HALF_FLOAT, texels);
  }

  /** Writes the ranges of the blocks of a slot, as `rangesOf` gives them. */
  describe(slot: number, ranges: Float32Array): void {
    const gl = this.#gl;
    const from = this.place(slot).map((own) => own * this.blocks);
    const shape = axes(() => this.blocks);
    writeTexels(gl, this.ranges, from, shape, gl.RG, gl.FLOAT, ranges);
  }

  delete(): void {
    this.#gl.deleteTexture(this.texture);
    this.#gl.deleteTexture(this.ranges);
  }
}

/** A region, as far as it is known. */
interface Region {
  corner: [number, number, number];
  /** Level of what is in the atlas; above COARSEST where nothing is. */
  level: number;
  /** Level that is being decoded; above COARSEST where none is. */
  asked: number;
  /** Normalised values of the planes x = 0, y = 0 and z = 0: the borders of regions below. */
  planes: Float32Array[];
  /** Slots of its bricks, one for each 32 * 2^level voxels along each axis; -1 without a brick. */
  slots: Int32Array;
}

/** The bricks of a grid of a frame, in float16, of values that are normalised for that. */
export class Bricks {
  /** What is subtracted before: other than 0 where values differ little for their size. */
  readonly offset: number;
  /** The largest value that the file tells; without one, that of the first region that has values. */
  scale: number;
  #isScaled: boolean;
  /** Voxel in index space where the cells begin. */
  readonly first: [number, number, number];
  readonly cells: [number, number, number];
  readonly pages: WebGLTexture;
  readonly ranges: WebGLTexture;
  /** Value beyond the cells, normalised. */
  readonly outside: number;
  /** Finest level for which there is room. */
  finest = 0;
  /** Voxels that have been decoded for it. */
  decoded = 0;
  readonly regions = new Map<string, Region>();
  readonly #gl: WebGL2RenderingContext;
  readonly #least: Float32Array;
  readonly #most: Float32Array;
  /** Ranges of the blocks of each slot. */
  readonly #ranges = new Map<number, Float32Array>();

  constructor(
    gl: WebGL2RenderingContext,
    readonly grid: GridInfo,
    skeleton: Skeleton,
    readonly atlas: Atlas,
  ) {
    this.#gl = gl;
    this.offset = offsetOf(grid);
    const largest = largestOf(grid, skeleton.tiles, this.offset);
    this.#isScaled = largest > SMALLEST;
    this.scale = this.#isScaled ? largest : 1;
    const corners = Array.from({ length: skeleton.corners.length / 3 }, (_, at) =>
      Array.from(skeleton.corners.subarray(3 * at, 3 * at + 3)),
    );
    for (const tile of skeleton.tiles)
      if (tile.edge < REGION)
        corners.push(tile.corner.map((own) => Math.floor(own / REGION) * REGION));
    const lower = axes((axis) =>
      Math.min(...corners.map((own) => own[axis]!), boxAt(grid, "lower", axis)),
    );
    const upper = axes((axis) =>
      Math.max(...corners.map((own) => own[axis]! + REGION), boxAt(grid, "upper", axis)),
    );
    this.first = axes((axis) => Math.floor(lower[axis]! / REGION) * REGION);
    this.cells = axes(
      (axis) => Math.max(1, Math.ceil((upper[axis]! - this.first[axis]!) / REGION)) * CELLS,
    );
    const most = gl.getParameter(gl.MAX_3D_TEXTURE_SIZE) as number;
    if (
      Math.max(...this.cells) > most ||
      this.cells[0] * this.cells[1] * this.cells[2] > MOST_CELLS
    )
      throw new InrvError(
        `${grid.name} spans ${this.cells.map((own) => own * CELL).join(" × ")} voxels, which is too ` +
          "far to be shown: a box of it can be decoded into a file of its own",
      );
    this.outside = this.#normal(grid.background);
    const count = this.cells[0] * this.cells[1] * this.cells[2];
    this.#least = new Float32Array(count).fill(this.outside);
    this.#most = new Float32Array(count).fill(this.outside);
    const pages = new Uint8Array(4 * count).fill(NO_BRICK);
    for (const tile of skeleton.tiles) if (tile.edge >= REGION) this.#fill(tile, pages);
    this.pages = textureOf(gl, gl.RGBA8UI, this.cells, gl.NEAREST);
    this.ranges = textureOf(gl, gl.RG32F, this.cells, gl.NEAREST);
    this.#uploadPages([0, 0, 0], this.cells, pages);
    this.#uploadRanges([0, 0, 0], this.cells);
    for (const corner of corners)
      this.regions.set(corner.join(), {
        corner: corner as [number, number, number],
        level: COARSEST + 1,
        asked: COARSEST + 1,
        planes: [],
        slots: new Int32Array(),
      });
  }

  /** Bytes that all of its regions take at a level at most. */
  static bytes(regions: number, level: number, brick: number, marks: boolean): number {
    return regions * Math.max(1, REGION / (brick << level)) ** 3 * Atlas.bytes(brick, marks);
  }

  /** A matrix from index space to voxels of the cells: column-major, for a shader. */
  get shift(): [number, number, number] {
    return axes((axis) => -this.first[axis]!);
  }

  /** The level at which all regions can be seen by now. */
  get level(): number {
    return Math.max(0, ...[...this.regions.values()].map((own) => own.level));
  }

  /** How many regions are as fine as `finest`, or finer. */
  get done(): number {
    return [...this.regions.values()].filter((own) => own.level <= this.finest).length;
  }

  /** Puts a decoded region into the atlas; gives false where there is no room left. */
  put(region: Region, block: Block, level: number): boolean {
    const edge = REGION >> level;
    const values = this.#scalars(block.values, edge ** 3);
    this.decoded += edge ** 3;
    const brick = Math.min(this.atlas.brick, edge);
    const along = edge / brick;
    if (this.atlas.left < along ** 3) return false;
    region.planes = [0, 1, 2].map((axis) => plane(values, edge, axis));
    const old = region.slots;
    const oldLevel = region.level;
    region.level = level;
    region.slots = new Int32Array(along ** 3).fill(-1);
    const padded = this.#padded(region, values, edge);
    const wide = edge + 1;
    const side = brick + 1;
    const samples = new Float32Array(side ** 3);
    const active = new Float32Array(side ** 3); // what lies on the border stays 0
    const pages = new Uint8Array(4 * CELLS ** 3);
    for (let bx = 0; bx < along; bx++)
      for (let by = 0; by < along; by++)
        for (let bz = 0; bz < along; bz++) {
          let [least, most] = [Infinity, -Infinity];
          let at = 0;
          for (let z = 0; z < side; z++)
            for (let y = 0; y < side; y++) {
              let from = (bx * brick * wide + by * brick + y) * wide + bz * brick + z;
              for (let x = 0; x < side; x++, from += wide * wide) {
                const value = padded[from]!;
                samples[at++] = value;
                if (value < least) least = value;
                if (value > most) most = value;
              }
            }
          let marked = 0;
          for (let z = 0; z < brick; z++)
            for (let y = 0; y < brick; y++) {
              let from = (bx * brick * edge + by * brick + y) * edge + bz * brick + z;
              for (let x = 0; x < brick; x++, from += edge * edge)
                marked += active[(z * side + y) * side + x] = block.active[from]!;
            }
          const isMixed = this.atlas.marks && marked > 0 && marked < brick ** 3;
          const slot = least === most && !isMixed ? -1 : this.atlas.take();
          region.slots[(bx * along + by) * along + bz] = slot;
          if (slot >= 0) {
            const put = (own: Float32Array) =>
              this.atlas.brick === brick ? own : spread(own, side, this.atlas.brick + 1);
            this.atlas.write(
              slot,
              [0, 0, 0],
              axes(() => this.atlas.brick + 1),
              halves(put(samples)),
              put(active),
            );
            this.#ranges.set(slot, rangesOf(samples, side, this.atlas.blocks));
            this.atlas.describe(slot, this.#ranges.get(slot)!);
          }
          const page = (slot >= 0 ? level : NO_BRICK) + (marked ? ACTIVE : 0);
          this.#describe(region, [bx, by, bz], along, slot, least, most, page, pages);
        }
    const cell = this.#cellOf(region.corner);
    this.#uploadPages(
      cell,
      axes(() => CELLS),
      pages,
    );
    this.#uploadRanges(
      cell,
      axes(() => CELLS),
    );
    if (oldLevel <= COARSEST) for (const slot of old) if (slot >= 0) this.atlas.give(slot);
    for (let number = 1; number < 8; number++) this.#mend(region, number);
    return true;
  }

  delete(): void {
    for (const region of this.regions.values()) {
      for (const slot of region.slots) if (slot >= 0) this.atlas.give(slot);
      region.slots = new Int32Array();
      region.level = COARSEST + 1;
    }
    this.#gl.deleteTexture(this.pages);
    this.#gl.deleteTexture(this.ranges);
  }

  /** Writes ranges and pages of the cells that a brick covers. */
  #describe(
    region: Region,
    place: number[],
    along: number,
    slot: number,
    least: number,
    most: number,
    page: number,
    pages: Uint8Array,
  ): void {
    const cells = CELLS / along; // that a brick covers along each axis
    const [first, second, third] = this.#cellOf(region.corner);
    const [px, py, pz] = slot >= 0 ? this.atlas.place(slot) : [0, 0, 0];
    for (let x = 0; x < cells; x++)
      for (let y = 0; y < cells; y++)
        for (let z = 0; z < cells; z++) {
          const [cx, cy, cz] = [
            place[0]! * cells + x,
            place[1]! * cells + y,
            place[2]! * cells + z,
          ];
          const cell = this.#number(first + cx, second + cy, third + cz);
          this.#least[cell] = least;
          this.#most[cell] = most;
          pages.set([px, py, pz, page], 4 * ((cz * CELLS + cy) * CELLS + cx));
        }
  }

  /** Rewrites the borders of a region below that were taken from this one when it was not known. */
  #mend(region: Region, number: number): void {
    const corner = region.corner.map((own, axis) => own - ((number >> axis) & 1) * REGION);
    const below = this.regions.get(corner.join());
    if (!below || below.level > COARSEST) return;
    const edge = REGION >> below.level;
    const brick = Math.min(this.atlas.brick, edge);
    const along = edge / brick;
    const side = brick + 1;
    for (let place = 0; place < along ** 3; place++) {
      const slot = below.slots[place]!;
      if (slot < 0) continue;
      const at = [Math.floor(place / along ** 2), Math.floor(place / along) % along, place % along];
      for (let axis = 0; axis < 3; axis++) {
        if (!((number >> axis) & 1) || at[axis] !== along - 1) continue;
        const shape = axes((own) => (own === axis ? 1 : side));
        const samples = new Float32Array(side * side);
        let filled = 0;
        for (let z = 0; z < shape[2]; z++)
          for (let y = 0; y < shape[1]; y++)
            for (let x = 0; x < shape[0]; x++) {
              const inner = [x, y, z].map((own, other) => (other === axis ? brick : own));
              const sample = inner.map((own, other) => at[other]! * brick + own);
              samples[filled++] = this.#border(below, sample, edge);
            }
        const from = axes((own) => (own === axis ? brick : 0));
        this.atlas.write(slot, from, shape, halves(samples));
        let [least, most] = [Infinity, -Infinity];
        for (const own of samples) {
          least = Math.min(least, own);
          most = Math.max(most, own);
        }
        this.#widenBlocks(slot, axis, brick, least, most);
        this.#widenCells(below, at, along, least, most);
      }
    }
    this.#uploadRanges(
      this.#cellOf(below.corner),
      axes(() => CELLS),
    );
  }

  /** Widens the ranges of the cells that a brick covers. */
  #widenCells(region: Region, place: number[], along: number, least: number, most: number): void {
    const cells = CELLS / along;
    const first = this.#cellOf(region.corner).map((own, axis) => own + place[axis]! * cells);
    for (let x = 0; x < cells; x++)
      for (let y = 0; y < cells; y++)
        for (let z = 0; z < cells; z++) {
          const cell = this.#number(first[0]! + x, first[1]! + y, first[2]! + z);
          this.#least[cell] = Math.min(this.#least[cell]!, least);
          this.#most[cell] = Math.max(this.#most[cell]!, most);
        }
  }

  /** Widens the ranges of the blocks at an upper side of a brick. */
  #widenBlocks(slot: number, axis: number, brick: number, least: number, most: number): void {
    const ranges = this.#ranges.get(slot)!;
    const { blocks } = this.atlas;
    const last = Math.ceil(brick / BLOCK) - 1;
    for (let one = 0; one < blocks; one++)
      for (let two = 0; two < blocks; two++) {
        const block =
          axis === 0 ? [last, one, two] : axis === 1 ? [one, last, two] : [one, two, last];
        const at = 2 * ((block[2]! * blocks + block[1]!) * blocks + block[0]!);
        ranges[at] = Math.min(ranges[at]!, least);
        ranges[at + 1] = Math.max(ranges[at + 1]!, most);
      }
    this.atlas.describe(slot, ranges);
  }

  /** A value on an upper side of a region, which belongs to one of the regions above it. */
  #border(region: Region, sample: number[], edge: number): number {
    // A sample within the side may be the region's own, where another axis is not at the end.
    const above = region.corner.map((own, axis) => own + (sample[axis] === edge ? REGION : 0));
    const found = this.regions.get(above.join());
    const stride = REGION / edge;
    const inner = sample.map((own) => (own === edge ? 0 : own) * stride); // voxels within `found`
    const axis = sample.findIndex((own) => own === edge);
    if (!found || found.level > COARSEST) {
      // What is not decoded yet writes its side itself when it is: see #mend.
      return this.#valueAt(above.map((own, other) => own + inner[other]!));
    }
    return planeValue(found.planes[axis]!, REGION >> found.level, axis, inner, found.level);
  }

  /** The values of a region with one sample more along each axis. */
  #padded(region: Region, values: Float32Array, edge: number): Float32Array {
    const wide = edge + 1;
    const padded = new Float32Array(wide ** 3);
    for (let x = 0; x < edge; x++)
      for (let y = 0; y < edge; y++) {
        const from = (x * edge + y) * edge;
        padded.set(values.subarray(from, from + edge), (x * wide + y) * wide);
      }
    for (let number = 1; number < 8; number++) {
      const above = region.corner.map((own, axis) => own + ((number >> axis) & 1) * REGION);
      const found = this.regions.get(above.join());
      const known = found && found.level <= COARSEST;
      const fixed = found ? 0 : this.#valueAt(above);
      const ends = axes((axis) => ((number >> axis) & 1 ? 1 : edge));
      const start = axes((axis) => ((number >> axis) & 1 ? edge : 0));
      for (let x = 0; x < ends[0]; x++)
        for (let y = 0; y < ends[1]; y++)
          for (let z = 0; z < ends[2]; z++) {
            const sample = [start[0] + x, start[1] + y, start[2] + z];
            const to = (sample[0]! * wide + sample[1]!) * wide + sample[2]!;
            if (known) padded[to] = this.#border(region, sample, edge);
            else if (!found) padded[to] = fixed;
            else {
              const [ox, oy, oz] = sample.map((own) => Math.min(own, edge - 1));
              padded[to] = values[(ox! * edge + oy!) * edge + oz!]!;
            }
          }
    }
    return padded;
  }

  #valueAt(voxel: number[]): number {
    const cell = this.#cellAt(voxel);
    return cell < 0 ? this.outside : this.#least[cell]!;
  }

  #cellAt(voxel: number[]): number {
    const at = voxel.map((own, axis) => Math.floor((own - this.first[axis]!) / CELL));
    const inside = at.every((own, axis) => own >= 0 && own < this.cells[axis]!);
    return inside ? this.#number(at[0]!, at[1]!, at[2]!) : -1;
  }

  #cellOf(corner: readonly number[]): [number, number, number] {
    return axes((axis) => (corner[axis]! - this.first[axis]!) / CELL);
  }

  #number(x: number, y: number, z: number): number {
    return (z * this.cells[1] + y) * this.cells[0] + x;
  }

  #fill(tile: Tile, pages: Uint8Array): void {
    const value = this.#normal(tile.values);
    const from = axes((axis) => Math.max(0, (tile.corner[axis]! - this.first[axis]!) / CELL));
    const to = axes((axis) =>
      Math.min(this.cells[axis]!, (tile.corner[axis]! + tile.edge - this.first[axis]!) / CELL),
    );
    for (let z = from[2]; z < to[2]; z++)
      for (let y = from[1]; y < to[1]; y++)
        for (let x = from[0]; x < to[0]; x++) {
          const cell = this.#number(x, y, z);
          this.#least[cell] = this.#most[cell] = value;
          if (tile.active) pages[4 * cell + 3] = NO_BRICK + ACTIVE;
        }
  }

  /** A value as the atlas has it. */
  normal(value: number): number {
    return Math.max(-LARGEST, Math.min(LARGEST, (value - this.offset) / this.scale));
  }

  #normal(values: number[]): number {
    const found = values.length === 1 ? values[0]! : Math.hypot(...values);
    return this.normal(Number.isFinite(found) ? found : 0);
  }

  /**
   * One normalised value a voxel: of vectors their length. NaN becomes the background.
   *
   * Values may lie beyond the ranges of the file, which leave out those that are kept exactly.
   */
  #scalars(values: Float32Array, count: number): Float32Array {
    const found = new Float32Array(count);
    const { components } = this.grid;
    const background = this.outside * this.scale;
    let most = 0;
    for (let at = 0; at < count; at++) {
      const own = scalarAt(values, at, components);
      found[at] = Number.isNaN(own) ? background : own - this.offset;
      if (Number.isFinite(own)) most = Math.max(most, Math.abs(found[at]!));
    }
    if (!this.#isScaled && most > SMALLEST) {
      this.scale = most; // all that was written before is 0
      this.#isScaled = true;
    }
    const factor = 1 / this.scale;
    for (let at = 0; at < count; at++)
      found[at] = Math.max(-LARGEST, Math.min(LARGEST, found[at]! * factor));
    return found;
  }

  #uploadPages(from: Size, shape: Size, pages: Uint8Array): void {
    const gl = this.#gl;
    writeTexels(gl, this.pages, from, shape, gl.RGBA_INTEGER, gl.UNSIGNED_BYTE, pages);
  }

  #uploadRanges(from: Size, shape: Size): void {
    const gl = this.#gl;
    const ranges = new Float32Array(2 * shape[0]! * shape[1]! * shape[2]!);
    let at = 0;
    for (let z = 0; z < shape[2]!; z++)
      for (let y = 0; y < shape[1]!; y++)
        for (let x = 0; x < shape[0]!; x++) {
          const cell = this.#number(from[0]! + x, from[1]! + y, from[2]! + z);
          ranges[at++] = this.#least[cell]!;
          ranges[at++] = this.#most[cell]!;
        }
    writeTexels(gl, this.ranges, from, shape, gl.RG, gl.FLOAT, ranges);
  }
}

export type { Region };

function boxAt(grid: GridInfo, which: "lower" | "upper", axis: number): number {
  if (!grid.box) return which === "lower" ? 0 : 1;
  return grid.box[which][axis]! + (which === "upper" ? 1 : 0);
}

/** What is subtracted from values, so that 11 bits tell them apart. */
function offsetOf({ ranges, components, background }: GridInfo): number {
  const { minimum, maximum } = ranges[0]!;
  const span = maximum - minimum;
  const isFar = span > 0 && span < 0.25 * Math.max(Math.abs(minimum), Math.abs(maximum));
  if (components > 1 || !isFar) return 0;
  const isNear = Math.abs(background[0]! - minimum) < 4 * span;
  return isNear ? background[0]! : minimum;
}

/** The largest value that is known before any region is decoded; 0 where none is. */
function largestOf(grid: GridInfo, tiles: Tile[], offset: number): number {
  if (offset) {
    const { minimum, maximum } = grid.ranges[0]!;
    return Math.max(Math.abs(minimum - offset), Math.abs(maximum - offset));
  }
  const ends = grid.ranges.map((range) =>
    Math.max(Math.abs(range.minimum), Math.abs(range.maximum)),
  );
  let most = Math.hypot(...ends);
  for (const values of [grid.background, ...tiles.map((tile) => tile.values)]) {
    const own = Math.hypot(...values);
    if (Number.isFinite(own)) most = Math.max(most, own);
  }
  return Number.isFinite(most) ? most : 0;
}

function axes<T>(of: (axis: number) => T): [T, T, T] {
  return [of(0), of(1), of(2)];
}

/** The plane of a block where one axis is 0; the axis that comes last changes first. */
function plane(values: Float32Array, edge: number, axis: number): Float32Array {
  const found = new Float32Array(edge * edge);
  for (let one = 0; one < edge; one++)
    for (let two = 0; two < edge; two++) {
      const from =
        axis === 0
          ? one * edge + two
          : axis === 1
            ? one * edge * edge + two
            : (one * edge + two) * edge;
      found[one * edge + two] = values[from]!;
    }
  return found;
}

function planeValue(
  values: Float32Array,
  edge: number,
  axis: number,
  inner: number[],
  level: number,
): number {
  const [one, two] = [0, 1, 2].filter((own) => own !== axis).map((own) => inner[own]! >> level);
  return values[one! * edge + two!]!;
}

/** The least and the largest sample of each block of a brick: x changes first. */
function rangesOf(samples: Float32Array, side: number, blocks: number): Float32Array {
  const found = new Float32Array(2 * blocks ** 3);
  const brick = side - 1;
  let at = 0;
  for (let bz = 0; bz < blocks; bz++)
    for (let by = 0; by < blocks; by++)
      for (let bx = 0; bx < blocks; bx++, at += 2) {
        const [x0, y0, z0] = [bx * BLOCK, by * BLOCK, bz * BLOCK];
        let [least, most] = [Infinity, -Infinity];
        for (let z = z0; z <= Math.min(z0 + BLOCK, brick); z++)
          for (let y = y0; y <= Math.min(y0 + BLOCK, brick); y++) {
            const row = (z * side + y) * side;
            for (let x = x0; x <= Math.min(x0 + BLOCK, brick); x++) {
              const own = samples[row + x]!;
              if (own < least) least = own;
              if (own > most) most = own;
            }
          }
        found[at] = least;
        found[at + 1] = most;
      }
  return found;
}

/** Puts a small brick into a large one. */
function spread(samples: Float32Array, side: number, wide: number): Float32Array {
  const found = new Float32Array(wide ** 3);
  for (let z = 0; z < side; z++)
    for (let y = 0; y < side; y++) {
      const from = (z * side + y) * side;
      found.set(samples.subarray(from, from + side), (z * wide + y) * wide);
    }
  return found;
}

const single = new Float32Array(1);
const bits = new Uint32Array(single.buffer);

/** Values as numbers of 16 bits, rounded. */
export function halves(values: Float32Array): Uint16Array {
  const found = new Uint16Array(values.length);
  for (let at = 0; at < values.length; at++) {
    single[0] = values[at]!;
    const all = bits[0]!;
    const sign = (all >>> 16) & 0x8000;
    const magnitude = all & 0x7fffffff;
    if (magnitude < 0x33000000) found[at] = sign;
    else if (magnitude < 0x38800000) {
      const shift = 126 - (magnitude >>> 23); // 14 to 24: a number without the hidden bit
      const mantissa = (magnitude & 0x7fffff) | 0x800000;
      found[at] = sign | ((mantissa + (1 << (shift - 1))) >>> shift);
    } else found[at] = sign | ((magnitude - 0x38000000 + 0x1000) >>> 13);
  }
  return found;
}
