/**
 * A loader for three.js: a box of a grid as a 3D texture.
 *
 *     const { texture, grid } = await new InrvLoader().setGrid("density").setLevel(1).loadAsync("fire.inrv");
 */

import {
  ClampToEdgeWrapping,
  Data3DTexture,
  FloatType,
  LinearFilter,
  Loader,
  Matrix4,
  RGBAFormat,
  RedFormat,
  Vector3,
} from "three";
import { REGION, open, type Given, type GridInfo } from "@inrv/decoder";

/** A grid as a texture of float32: one channel, or three and an empty one. */
export interface LoadedGrid {
  texture: Data3DTexture;
  grid: GridInfo;
  /** Index space of the first and the last texel. */
  lower: Vector3;
  upper: Vector3;
  /** From texture coordinates, 0 to 1, to world space. */
  matrix: Matrix4;
}

const MOST = 1 << 28; // texels

export class InrvLoader extends Loader<LoadedGrid> {
  #grid: string | null = null;
  #level = 0;
  #frame = 0;

  /** Takes the grid of this name; else the first one with values. */
  setGrid(name: string): this {
    this.#grid = name;
    return this;
  }

  /** Takes every 2^level-th voxel along each axis. */
  setLevel(level: number): this {
    this.#level = level;
    return this;
  }

  /** Takes the frame at this place of a sequence. */
  setFrame(place: number): this {
    this.#frame = place;
    return this;
  }

  override load(
    url: string,
    done: (found: LoadedGrid) => void,
    _progress?: (event: ProgressEvent) => void,
    failed?: (error: unknown) => void,
  ): void {
    const whole = this.path && !/^[a-z]+:/i.test(url) ? this.path + url : url;
    this.parse(whole).then(done, (error) => (failed ? failed(error) : console.error(error)));
  }

  /** Reads a file that is at hand already, or at a URL. */
  async parse(given: Given): Promise<LoadedGrid> {
    const file = await open(given);
    try {
      const grids = (await file.grids(this.#frame)).filter((own) => !own.passthrough && own.box);
      const grid = grids.find((own) => this.#grid === null || own.name === this.#grid);
      if (!grid?.box) throw new Error(`${file.name} has no grid ${this.#grid ?? "with values"}`);
      const step = 1 << this.#level;
      const lower = grid.box.lower.map((own) => Math.floor(own / step) * step);
      const shape = grid.box.upper.map(
        (own, axis) => Math.floor((own - lower[axis]!) / step) + 1,
      ) as [number, number, number];
      const channels = grid.components === 1 ? 1 : 4;
      if (shape[0] * shape[1] * shape[2] > MOST)
        throw new Error(
          `${grid.name} has ${shape.join(" x ")} voxels: setLevel(${this.#level + 1}) takes every ${2 * step}th`,
        );
      const data = new Float32Array(shape[0] * shape[1] * shape[2] * channels);
      await Promise.all(
        cornersOf(lower, grid.box.upper).map(async (corner) => {
          const { values } = await file.block(grid, corner, this.#level, this.#frame);
          put(
            data,
            shape,
            channels,
            values,
            grid.components,
            corner.map((own, axis) => (own - lower[axis]!) / step),
            REGION / step,
          );
        }),
      );
      const texture = new Data3DTexture(data, ...shape);
      texture.format = channels === 1 ? RedFormat : RGBAFormat;
      texture.type = FloatType;
      texture.minFilter = texture.magFilter = LinearFilter;
      texture.wrapS = texture.wrapT = texture.wrapR = ClampToEdgeWrapping;
      texture.unpackAlignment = 1;
      texture.needsUpdate = true;
      const upper = lower.map((own, axis) => own + (shape[axis]! - 1) * step);
      // Texel i has its middle at (i + 0.5) / n.
      const scale = new Matrix4().makeScale(shape[0] * step, shape[1] * step, shape[2] * step);
      const shift = new Matrix4().makeTranslation(
        lower[0]! - step / 2,
        lower[1]! - step / 2,
        lower[2]! - step / 2,
      );
      const matrix = new Matrix4().fromArray(grid.matrix).multiply(shift).multiply(scale);
      return { texture, grid, lower: new Vector3(...lower), upper: new Vector3(...upper), matrix };
    } finally {
      file.close();
    }
  }
}

/** Corners of the regions that a box touches. */
function cornersOf(lower: number[], upper: number[]): number[][] {
  const [x, y, z] = lower.map((own, axis) => {
    const first = Math.floor(own / REGION) * REGION;
    return Array.from(
      { length: Math.floor((upper[axis]! - first) / REGION) + 1 },
      (_, at) => first + at * REGION,
    );
  }) as [number[], number[], number[]];
  return x.flatMap((a) => y.flatMap((b) => z.map((c) => [a, b, c])));
}

/** Puts a region into a texture, of which x changes first; what lies beyond it is left out. */
function put(
  to: Float32Array,
  shape: number[],
  channels: number,
  values: Float32Array,
  components: number,
  from: number[],
  edge: number,
): void {
  for (let z = Math.max(0, -from[2]!); z < Math.min(edge, shape[2]! - from[2]!); z++)
    for (let y = Math.max(0, -from[1]!); y < Math.min(edge, shape[1]! - from[1]!); y++)
      for (let x = Math.max(0, -from[0]!); x < Math.min(edge, shape[0]! - from[0]!); x++) {
        const target =
          (((z + from[2]!) * shape[1]! + y + from[1]!) * shape[0]! + x + from[0]!) * channels;
        const source = ((x * edge + y) * edge + z) * components;
        for (let part = 0; part < components; part++) to[target + part] = values[source + part]!;
      }
}
