/** What can be shown: an .inrv file, a file that the server reads, the difference of two of them. */

import {
  InrvError,
  REGION,
  open,
  type Block,
  type Given,
  type GridInfo,
  type Skeleton,
  type Tile,
  type Timeline,
} from "../decoder/index.js";

/** Frames of grids, of which regions can be had at levels of detail. */
export interface Volume {
  readonly name: string;
  readonly timeline: Timeline;
  grids(place: number): Promise<GridInfo[]>;
  skeleton(grid: GridInfo, place: number): Promise<Skeleton>;
  block(
    grid: GridInfo,
    corner: ArrayLike<number>,
    level: number,
    place: number,
    urgency: number,
  ): Promise<Block>;
  forget(): void;
  close(): void;
}

/** A file as the settings of the page name it. */
export interface Named {
  name: string;
  /** Where its bytes are; of a file that is no .inrv file, where the server answers for it. */
  url?: string;
  /** Its bytes in base64, in a page that holds its file. */
  data?: string;
  /** The numbers of its frames, where the server reads them. */
  served?: number[];
}

/** Opens what the settings name. */
export async function opened(named: Named): Promise<Volume> {
  if (named.served) return new ServedVolume(named.url!, named.name, named.served);
  const given: Given = named.data === undefined ? named.url! : unpacked(named.data);
  return fromBytes(given, named.name);
}

/** Opens an .inrv file. */
export async function fromBytes(given: Given, name: string): Promise<Volume> {
  const file = await open(given, { name });
  if (!file.timeline.frames.length) {
    file.close();
    throw new InrvError(`${name} holds no frame yet`);
  }
  return {
    name,
    timeline: file.timeline,
    grids: (place) => file.grids(place),
    skeleton: (grid, place) => file.skeleton(grid, place),
    block: (grid, corner, level, place, urgency) => file.block(grid, corner, level, place, urgency),
    forget: () => file.forget(),
    close: () => file.close(),
  };
}

function unpacked(data: string): Uint8Array {
  return Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
}

/** A grid of a frame that the server reads. */
interface ServedGrid {
  info: GridInfo;
  corners: number[];
  tiles: Skeleton["tiles"];
}

/** Files of other types, one for each frame: Python reads them, and sends what is asked for. */
class ServedVolume implements Volume {
  readonly timeline: Timeline;
  readonly #url: string;
  readonly #frames = new Map<number, Promise<ServedGrid[]>>();

  constructor(
    url: string,
    readonly name: string,
    numbers: number[],
  ) {
    this.#url = url;
    const frames = numbers.map((number, group) => ({ number, time: null, group }));
    this.timeline = { rate: 0, loop: "none", unit: "", pattern: "", frames };
  }

  async grids(place: number): Promise<GridInfo[]> {
    return (await this.#listed(place)).map((own) => own.info);
  }

  async skeleton(grid: GridInfo, place: number): Promise<Skeleton> {
    const { corners, tiles } = (await this.#listed(place))[grid.number]!;
    return { corners: Int32Array.from(corners), tiles };
  }

  async block(
    grid: GridInfo,
    corner: ArrayLike<number>,
    level: number,
    place: number,
  ): Promise<Block> {
    const region = Array.from(corner).join(",");
    const answer = await this.#answer(`${place}/blocks/${grid.number}/${level}/${region}`);
    const bytes = await answer.arrayBuffer();
    const voxels = (REGION >> level) ** 3;
    const end = 4 * voxels * grid.components;
    return {
      values: new Float32Array(bytes, 0, voxels * grid.components),
      active: new Uint8Array(bytes, end, voxels),
    };
  }

  forget(): void {}
  close(): void {}

  #listed(place: number): Promise<ServedGrid[]> {
    const kept = this.#frames.get(place);
    if (kept) return kept;
    const found = this.#answer(`${place}/grids`).then((answer) => answer.json());
    this.#frames.set(place, found);
    found.catch(() => this.#frames.delete(place)); // it may be there later
    return found;
  }

  async #answer(path: string): Promise<Response> {
    const answer = await fetch(`${this.#url}/${path}`).catch(() => {
      throw new InrvError("inrv view has ended: start it again");
    });
    if (!answer.ok) throw new InrvError(await answer.text());
    return answer;
  }
}

/** How far two volumes lie apart, voxel by voxel; of vectors the component that is farthest off. */
export class Difference implements Volume {
  readonly name: string;
  readonly timeline: Timeline;
  /** The largest difference of any voxel that was looked at, by positions of grids and places. */
  readonly #worst = new Map<number, Map<number, number>>();

  constructor(
    readonly one: Volume,
    readonly other: Volume,
  ) {
    this.name = `${one.name} - ${other.name}`;
    this.timeline = one.timeline;
  }

  /** The largest difference that was seen in a grid: in the frame at a place, or in any. */
  worst(position: number, place?: number): number | undefined {
    const found = this.#worst.get(position) ?? new Map<number, number>();
    return place === undefined ? Math.max(0, ...found.values()) : found.get(place);
  }

  async grids(place: number): Promise<GridInfo[]> {
    const own = await this.one.grids(place);
    const others = await this.other.grids(this.#otherPlace(place));
    return own
      .filter((grid) => !grid.passthrough && matching(grid, others))
      .map((grid) => ({
        ...grid,
        components: 1 as const,
        background: [0],
        gridClass: "unknown",
        ranges: [{ minimum: 0, maximum: 0 }], // it is not known before
      }));
  }

  async skeleton(grid: GridInfo, place: number): Promise<Skeleton> {
    const [one, other] = await this.#both(grid, place);
    const skeletons = await Promise.all([
      this.one.skeleton(one, place),
      this.other.skeleton(other, this.#otherPlace(place)),
    ]);
    const corners = new Map<string, number[]>();
    // What is no tile of the other's is taken as background there; its regions are looked at anyway.
    const values = skeletons.map(
      ({ tiles }) => new Map(tiles.map((own) => [keyOf(own), own.values])),
    );
    const large = new Map<string, Tile>();
    for (const { corners: found, tiles } of skeletons) {
      for (let at = 0; at < found.length; at += 3) {
        const corner = Array.from(found.subarray(at, at + 3));
        corners.set(corner.join(), corner);
      }
      for (const tile of tiles) {
        const corner = tile.corner.map((own) => Math.floor(own / REGION) * REGION);
        if (tile.edge <= REGION) corners.set(corner.join(), corner);
        else {
          const key = keyOf(tile);
          const mine = values[0]!.get(key) ?? one.background;
          const others = values[1]!.get(key) ?? other.background;
          const apart = mine.map((own, part) =>
            Object.is(own, others[part]) ? 0 : Math.abs(own - others[part]!),
          );
          large.set(key, { ...tile, values: [Math.max(...apart)] });
        }
      }
    }
    this.#see(grid, place, Math.max(0, ...[...large.values()].map((own) => own.values[0]!)));
    return { corners: Int32Array.from([...corners.values()].flat()), tiles: [...large.values()] };
  }

  #see(grid: GridInfo, place: number, apart: number): void {
    const found = this.#worst.get(grid.position) ?? new Map<number, number>();
    this.#worst.set(grid.position, found.set(place, Math.max(found.get(place) ?? 0, apart)));
  }

  async block(
    grid: GridInfo,
    corner: ArrayLike<number>,
    level: number,
    place: number,
    urgency: number,
  ): Promise<Block> {
    const [one, other] = await this.#both(grid, place);
    const [a, b] = await Promise.all([
      this.one.block(one, corner, level, place, urgency),
      this.other.block(other, corner, level, this.#otherPlace(place), urgency),
    ]);
    const count = a.active.length;
    const values = new Float32Array(count);
    let worst = 0;
    for (let voxel = 0; voxel < count; voxel++) {
      let most = 0;
      for (let part = 0; part < one.components; part++) {
        const at = voxel * one.components + part;
        const [mine, other] = [a.values[at]!, b.values[at]!];
        const apart = Object.is(mine, other) ? 0 : mine - other; // both may be NaN
        most = Math.max(most, Number.isNaN(apart) ? Infinity : Math.abs(apart));
      }
      values[voxel] = most;
      worst = Math.max(worst, most);
    }
    this.#see(grid, place, worst);
    return { values, active: a.active };
  }

  forget(): void {
    this.one.forget();
    this.other.forget();
  }

  close(): void {}

  async #both(grid: GridInfo, place: number): Promise<[GridInfo, GridInfo]> {
    const own = (await this.one.grids(place)).find((found) => found.number === grid.number)!;
    const others = await this.other.grids(this.#otherPlace(place));
    return [own, matching(own, others)!];
  }

  #otherPlace(place: number): number {
    return samePlace(this.one, place, this.other);
  }
}

function keyOf({ corner, edge }: Tile): string {
  return `${corner.join()} ${edge}`;
}

/** The grid of the same name and type, at the same position where several have the name. */
export function matching(grid: GridInfo, others: GridInfo[]): GridInfo | undefined {
  const fitting = others.filter(
    (other) =>
      other.name === grid.name && other.components === grid.components && !other.passthrough,
  );
  return fitting.find((other) => other.position === grid.position) ?? fitting[0];
}

/** The value of a voxel of a block; of vectors their length. */
export function scalarAt(values: Float32Array, voxel: number, components: number): number {
  if (components === 1) return values[voxel]!;
  const at = components * voxel;
  return Math.hypot(values[at]!, values[at + 1]!, values[at + 2]!);
}

/**
 * The place of the frame of another file that has the same number. A single volume has none.
 *
 * Throws an InrvError where a sequence has no such frame.
 */
export function samePlace(one: Volume, place: number, other: Volume): number {
  const { number } = one.timeline.frames[place]!;
  const found = other.timeline.frames.findIndex((frame) => frame.number === number);
  if (found >= 0) return found;
  if (one.timeline.frames.length === 1 || other.timeline.frames.length === 1) return 0;
  throw new InrvError(`${other.name} has no frame ${number}`);
}
