/** Fills the bricks of a grid: coarse levels first, and nearest the camera first. */

import { COARSEST, REGION, type GridInfo, type InrvError } from "../decoder/index.js";
import { Atlas, Bricks, type Region } from "./bricks.js";
import { transformed, worldOf, type Vector } from "./matrices.js";
import type { Volume } from "./volumes.js";

const LADDER = [3, 1, 0]; // levels at which regions are decoded in turn
const BRICK = 32;
const AT_ONCE = 6; // regions that are asked for and not here yet

/** How fine a region should be, and how soon. */
export interface Wish {
  level: number;
  urgency: number;
}

export class Loader {
  readonly bricks: Bricks;
  /** What the user should know, as that there is no room for the finest level; "" where nothing. */
  remark = "";
  error: InrvError | null = null;
  #busy = 0;
  #ended = false;
  #told: (() => void)[] = [];

  private constructor(
    readonly volume: Volume,
    readonly grid: GridInfo,
    readonly place: number,
    bricks: Bricks,
    private readonly wish: (middle: Vector, edge: number) => Wish,
    private readonly changed: (loader: Loader) => void,
  ) {
    this.bricks = bricks;
  }

  /**
   * Begins to load a grid of a frame.
   *
   * @param budget bytes on the GPU
   * @param marks whether active voxels are told from others
   * @param wish what is wanted of a region, by its middle in world space and its edge there
   * @param changed is called whenever a region has become finer
   */
  static async begin(
    gl: WebGL2RenderingContext,
    volume: Volume,
    grid: GridInfo,
    place: number,
    budget: number,
    marks: boolean,
    wish: (middle: Vector, edge: number) => Wish,
    changed: (loader: Loader) => void,
  ): Promise<Loader> {
    const skeleton = await volume.skeleton(grid, place);
    const regions = Math.max(
      1,
      skeleton.corners.length / 3 + skeleton.tiles.filter((own) => own.edge < REGION).length / 64,
    );
    let finest = 0;
    while (
      finest < COARSEST &&
      Bricks.bytes(regions, finest, BRICK >> Math.max(0, finest - 2), marks) > budget
    )
      finest++;
    const brick = BRICK >> Math.max(0, finest - 2);
    const bytes = Bricks.bytes(regions, finest, brick, marks);
    const atlas = new Atlas(gl, bytes / Atlas.bytes(brick, marks) + AT_ONCE * 2, brick, marks);
    const bricks = new Bricks(gl, grid, skeleton, atlas);
    bricks.finest = finest;
    const loader = new Loader(volume, grid, place, bricks, wish, changed);
    if (finest)
      loader.remark =
        `${grid.name} needs ${gigabytes(Bricks.bytes(regions, 0, BRICK, marks))} of ${gigabytes(budget)}: ` +
        `every ${ordinal(1 << finest)} voxel is shown`;
    loader.pump();
    return loader;
  }

  /** Whether nothing is left to do. */
  get isDone(): boolean {
    return !this.#busy && !this.#next();
  }

  /** The share of the regions that are as fine as they shall be. */
  get share(): number {
    const all = this.bricks.regions.size;
    return all ? this.bricks.done / all : 1;
  }

  /** Is fulfilled when nothing is left to do. */
  done(): Promise<void> {
    return this.isDone ? Promise.resolve() : new Promise((resolve) => this.#told.push(resolve));
  }

  /** Asks for what is wanted next. It is called again when the camera has moved. */
  pump(): void {
    if (this.#ended) return;
    while (this.#busy < AT_ONCE) {
      const next = this.#next();
      if (!next) break;
      void this.#load(next.region, next.level, next.urgency);
    }
    if (!this.#busy) {
      for (const resolve of this.#told.splice(0)) resolve();
    }
  }

  end(): void {
    this.#ended = true;
    this.bricks.delete();
    this.bricks.atlas.delete();
    for (const resolve of this.#told.splice(0)) resolve();
  }

  async #load(region: Region, level: number, urgency: number): Promise<void> {
    this.#busy++;
    region.asked = level;
    try {
      const block = await this.volume.block(this.grid, region.corner, level, this.place, urgency);
      if (this.#ended || region.level <= level) return; // a finer one may have come before
      if (!this.bricks.put(region, block, level))
        this.remark = `the memory of ${this.grid.name} is full: parts of it are shown coarser`;
      this.changed(this);
    } catch (error) {
      if ((error as InrvError).rule !== "forgotten") this.error ??= error as InrvError;
      else region.asked = COARSEST + 1;
      this.changed(this);
    } finally {
      this.#busy--;
      this.pump();
    }
  }

  #next(): { region: Region; level: number; urgency: number } | null {
    let best: { region: Region; level: number; urgency: number } | null = null;
    const world = worldOf(this.grid);
    const ladder = LADDER.map((own) => Math.max(own, this.bricks.finest));
    for (const region of this.bricks.regions.values()) {
      const held = Math.min(region.level, region.asked);
      const level = ladder.find((own) => own < held);
      if (level === undefined) continue;
      const middle = transformed(world, region.corner.map((own) => own + REGION / 2) as Vector);
      const corner = transformed(world, region.corner as Vector);
      const edge =
        (Math.hypot(...middle.map((own, axis) => own - corner[axis]!)) / Math.sqrt(3)) * 2;
      const wish = this.wish(middle, edge);
      if (held <= COARSEST && held <= wish.level) continue;
      const urgency = held * 1e6 + wish.urgency;
      if (!best || urgency > best.urgency) best = { region, level, urgency };
    }
    return best;
  }
}

function gigabytes(bytes: number): string {
  return `${(bytes / 1e9).toFixed(1)} GB`;
}

function ordinal(number: number): string {
  return `${number}${number === 2 ? "nd" : "th"}`;
}
