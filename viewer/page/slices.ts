/** Slices along the axes of index space, drawn from the decoded values themselves. */

import { InrvError, REGION, type Block, type GridInfo } from "../decoder/index.js";
import { displayColor, type Look } from "./looks.js";
import { transformed, voxelEdges, worldOf, type Vector } from "./matrices.js";
import { scalarAt, type Volume } from "./volumes.js";

const MOST_BLOCKS = 48; // that are kept; each takes 10 MB, or 27 MB of vectors
const MOST_PIXELS = 1 << 25; // of a slice
const MOST_EDGE = 16384;
const AXES = ["x", "y", "z"] as const;

/** Decoded regions of a grid of a frame, at the finest level, as they are needed. */
export class Voxels {
  readonly #blocks = new Map<string, Promise<Block | null>>();
  readonly #known: Promise<{
    regions: Set<string>;
    tiles: { corner: number[]; edge: number; active: boolean; values: number[] }[];
  }>;

  constructor(
    readonly volume: Volume,
    readonly grid: GridInfo,
    readonly place: number,
  ) {
    this.#known = volume.skeleton(grid, place).then(({ corners, tiles }) => {
      const regions = new Set<string>();
      for (let at = 0; at < corners.length; at += 3)
        regions.add(corners.subarray(at, at + 3).join());
      for (const tile of tiles)
        if (tile.edge < REGION)
          regions.add(tile.corner.map((own) => Math.floor(own / REGION) * REGION).join());
      return { regions, tiles: tiles.filter((tile) => tile.edge >= REGION) };
    });
  }

  /** A voxel: the value of each component, and whether it is active. */
  async at(voxel: readonly number[]): Promise<{ values: number[]; active: boolean }> {
    const corner = voxel.map((own) => Math.floor(own / REGION) * REGION);
    const block = await this.block(corner);
    if (!block) return this.#fixed(voxel);
    const [x, y, z] = voxel.map((own, axis) => own - corner[axis]!) as Vector;
    const place = (x * REGION + y) * REGION + z;
    const { components } = this.grid;
    return {
      values: Array.from(block.values.subarray(place * components, (place + 1) * components)),
      active: block.active[place] === 1,
    };
  }

  /** A region; null where none of its voxels lies in a leaf. */
  async block(corner: readonly number[]): Promise<Block | null> {
    const key = corner.join();
    if (!(await this.#known).regions.has(key)) return null;
    let found = this.#blocks.get(key);
    this.#blocks.delete(key);
    found ??= this.volume.block(this.grid, corner, 0, this.place, 1e12);
    this.#blocks.set(key, found); // the newest one stands last
    found.catch(() => this.#blocks.delete(key));
    if (this.#blocks.size > MOST_BLOCKS) this.#blocks.delete(this.#blocks.keys().next().value!);
    return found;
  }

  async #fixed(voxel: readonly number[]): Promise<{ values: number[]; active: boolean }> {
    const { tiles } = await this.#known;
    const tile = tiles.find((own) =>
      own.corner.every((low, axis) => voxel[axis]! >= low && voxel[axis]! < low + own.edge),
    );
    return tile
      ? { values: tile.values, active: tile.active }
      : { values: this.grid.background, active: false };
  }

  /**
   * The voxels of a plane within a box.
   *
   * @returns lengths of the vectors, or values; and which are active: [second][first] of the other axes
   */
  async plane(axis: number, at: number, lower: readonly number[], upper: readonly number[]) {
    const [first, second] = [0, 1, 2].filter((own) => own !== axis) as [number, number];
    const [wide, high] = [first, second].map((own) => upper[own]! - lower[own]! + 1) as [
      number,
      number,
    ];
    if (wide * high > MOST_PIXELS || Math.max(wide, high) > MOST_EDGE)
      throw new InrvError(
        `${this.grid.name} spans ${wide} × ${high} voxels, which is too far for a slice: ` +
          "a box of it can be decoded into a file of its own",
      );
    const values = new Float32Array(wide * high);
    const active = new Uint8Array(wide * high);
    const { components } = this.grid;
    const corner = [0, 0, 0];
    corner[axis] = Math.floor(at / REGION) * REGION;
    for (let a = Math.floor(lower[first]! / REGION) * REGION; a <= upper[first]!; a += REGION)
      for (let b = Math.floor(lower[second]! / REGION) * REGION; b <= upper[second]!; b += REGION) {
        corner[first] = a;
        corner[second] = b;
        const block = await this.block(corner);
        const fixed = block ? null : await this.#fixed(corner);
        const inner = [0, 0, 0];
        inner[axis] = at - corner[axis]!;
        for (let v = Math.max(b, lower[second]!); v < Math.min(b + REGION, upper[second]! + 1); v++)
          for (
            let u = Math.max(a, lower[first]!);
            u < Math.min(a + REGION, upper[first]! + 1);
            u++
          ) {
            const to = (v - lower[second]!) * wide + u - lower[first]!;
            if (!block) {
              values[to] = components === 1 ? fixed!.values[0]! : Math.hypot(...fixed!.values);
              active[to] = fixed!.active ? 1 : 0;
              continue;
            }
            inner[first] = u - a;
            inner[second] = v - b;
            const from = (inner[0]! * REGION + inner[1]!) * REGION + inner[2]!;
            values[to] = scalarAt(block.values, from, components);
            active[to] = block.active[from]!;
          }
      }
    return { values, active, wide, high, first, second };
  }
}

/** Three pictures of a grid, each with a slider, and the value under the cursor. */
export class Slices {
  readonly element = document.createElement("div");
  readonly at: Vector = [0, 0, 0];
  #voxels: Voxels | null = null;
  #look: Look | null = null;
  #marks = false;
  #turn = 0;
  #pointed = 0;
  /** Where the cursor is, of which slice. */
  #hover: { axis: number; event: PointerEvent } | null = null;
  readonly #canvases: HTMLCanvasElement[] = [];
  readonly #sliders: HTMLInputElement[] = [];
  readonly #labels: HTMLElement[] = [];

  /** @param told is called with a line about the voxel under the cursor */
  constructor(private readonly told: (line: string) => void) {
    this.element.className = "slices";
    for (let axis = 0; axis < 3; axis++) {
      const figure = document.createElement("figure");
      const canvas = document.createElement("canvas");
      const slider = Object.assign(document.createElement("input"), { type: "range", step: "1" });
      const label = document.createElement("figcaption");
      slider.setAttribute("aria-label", `Slice along ${AXES[axis]}`);
      slider.oninput = () => {
        this.at[axis] = Number(slider.value);
        void this.#draw();
      };
      canvas.onpointermove = (event) => void this.#point(axis, event);
      canvas.onpointerleave = () => this.#leave();
      canvas.onpointerdown = (event) => void this.#point(axis, event, true);
      figure.append(canvas, slider, label);
      this.element.append(figure);
      this.#canvases.push(canvas);
      this.#sliders.push(slider);
      this.#labels.push(label);
    }
  }

  /** Shows a grid, or draws it again with another look. */
  async show(voxels: Voxels, look: Look, marks: boolean): Promise<void> {
    const { box } = voxels.grid;
    if (!box) return;
    if (voxels.grid.position !== this.#voxels?.grid.position)
      for (let axis = 0; axis < 3; axis++)
        this.at[axis] = Math.round((box.lower[axis]! + box.upper[axis]!) / 2);
    this.#voxels = voxels;
    this.#look = look;
    this.#marks = marks;
    for (let axis = 0; axis < 3; axis++) {
      Object.assign(this.#sliders[axis]!, {
        min: String(box.lower[axis]),
        max: String(box.upper[axis]),
      });
      this.at[axis] = Math.min(box.upper[axis]!, Math.max(box.lower[axis]!, this.at[axis]!));
      this.#sliders[axis]!.value = String(this.at[axis]);
    }
    await this.#draw();
  }

  async #draw(): Promise<void> {
    const voxels = this.#voxels;
    const look = this.#look;
    if (!voxels || !look) return;
    const turn = ++this.#turn;
    const { lower, upper } = voxels.grid.box!;
    const edges = voxelEdges(voxels.grid);
    const colors = Array.from({ length: 256 }, (_, at) => displayColor(look.map, at / 255));
    const [low, high] = look.window;
    for (let axis = 0; axis < 3; axis++) {
      this.#labels[axis]!.textContent = `${AXES[axis]} = ${this.at[axis]}`;
      const plane = await voxels.plane(axis, this.at[axis]!, lower, upper);
      if (turn !== this.#turn) return;
      const canvas = this.#canvases[axis]!;
      [canvas.width, canvas.height] = [plane.wide, plane.high];
      const [across, upwards] = [plane.first, plane.second].map((own) => edges[own]!);
      canvas.style.aspectRatio = String((plane.wide * across!) / (plane.high * upwards!));
      const picture = new ImageData(plane.wide, plane.high);
      for (let v = 0; v < plane.high; v++)
        for (let u = 0; u < plane.wide; u++) {
          const from = v * plane.wide + u;
          const to = 4 * ((plane.high - 1 - v) * plane.wide + u); // upwards on the screen
          const place = Math.round((255 * (plane.values[from]! - low)) / (high - low || 1));
          const [r, g, b] = colors[Math.min(255, Math.max(0, place || 0))]!;
          const marked = this.#marks && plane.active[from];
          picture.data.set(
            marked ? [r * 0.7 + 40, g * 0.7, b * 0.7 + 76, 255] : [r, g, b, 255],
            to,
          );
        }
      canvas.getContext("2d")!.putImageData(picture, 0, 0);
    }
    if (this.#hover) void this.#point(this.#hover.axis, this.#hover.event);
  }

  async #point(axis: number, event: PointerEvent, go = false): Promise<void> {
    this.#hover = { axis, event };
    const voxels = this.#voxels;
    if (!voxels) return;
    const canvas = this.#canvases[axis]!;
    const area = canvas.getBoundingClientRect();
    const [first, second] = [0, 1, 2].filter((own) => own !== axis) as [number, number];
    const { lower, upper } = voxels.grid.box!;
    const voxel = [...this.at];
    const share = (own: number) => Math.min(0.999999, Math.max(0, own));
    voxel[first] =
      lower[first]! + Math.floor(share((event.clientX - area.left) / area.width) * canvas.width);
    voxel[second] =
      upper[second]! - Math.floor(share((event.clientY - area.top) / area.height) * canvas.height);
    if (go) {
      for (const own of [first, second]) {
        this.at[own] = voxel[own]!;
        this.#sliders[own]!.value = String(voxel[own]);
      }
      void this.#draw();
    }
    const turn = ++this.#pointed;
    const line = await describe(voxels, voxel);
    if (turn === this.#pointed) this.told(line);
  }

  #leave(): void {
    this.#hover = null;
    this.#pointed++;
    this.told("");
  }
}

/** "density = 0.25 at voxel (3, 4, 5), world (0.3, 0.4, 0.5), active". */
export async function describe(voxels: Voxels, voxel: readonly number[]): Promise<string> {
  const { values, active } = await voxels.at(voxel);
  const world = transformed(worldOf(voxels.grid), voxel as unknown as Vector);
  const text = (numbers: readonly number[], digits: number) =>
    numbers.map((own) => String(Number(own.toPrecision(digits)))).join(", ");
  const value = values.length === 1 ? text(values, 7) : `(${text(values, 7)})`;
  return `${voxels.grid.name} = ${value} at voxel (${voxel.join(", ")}), world (${text(world, 5)}), ${active ? "active" : "inactive"}`;
}
