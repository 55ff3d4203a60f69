/**
 * The C core of inrv as a WebAssembly module: it opens files and decodes regions, synchronously.
 *
 * A page uses it in workers (client.ts does that); a program without a page may call it itself.
 * The layout of the structs below is that of codec/core/inrv.h where pointers have 32 bits.
 */

import RULES from "inrv:rules";

/** Edge of a region in voxels. */
export const REGION = 128;
/** Levels of detail are 0 to this one. */
export const COARSEST = 6;

/** Bytes that are read piece by piece, when they are asked for. */
export interface Source {
  /** Bytes that there are. */
  readonly size: number;
  /** What errors call it. */
  readonly name: string;
  /** Gives `length` bytes at `offset`; fewer, or an exception, where they cannot be read. */
  read(offset: number, length: number): Uint8Array;
}

/** A file that cannot be read, or a mistake of the caller. */
export class InrvError extends Error {
  /** @param rule the condition of the format that the bytes break, as "F6"; "" where it is none */
  constructor(
    message: string,
    readonly rule = "",
  ) {
    super(message);
    this.name = "InrvError";
  }
}

export type GridClass = "unknown" | "level set" | "fog volume" | "staggered";
const CLASSES: GridClass[] = ["unknown", "level set", "fog volume", "staggered"];

/** Range of the coded values of a component. */
export interface Range {
  minimum: number;
  maximum: number;
}

/** What a file says of a grid. */
export interface GridInfo {
  /** Number by which the core finds it in its group. */
  number: number;
  name: string;
  /** "float" or "vec3s"; of a passthrough grid OpenVDB's name of its tree. */
  type: string;
  components: 1 | 3;
  /** Whether it is kept as bytes of the .vdb file, so that it has no values here. */
  passthrough: boolean;
  /** Place of its frame in its group. */
  frame: number;
  position: number;
  gridClass: GridClass;
  /** Whether decoded values tell which voxels are active. */
  wholeLeaves: boolean;
  background: number[];
  /** Row-major: the row [x y z 1] of index space times it is world space. */
  matrix: number[];
  activeVoxels: number;
  leafVoxels: number;
  /** Corners of the box of all active voxels, both included; null where none is active. */
  box: { lower: number[]; upper: number[] } | null;
  ranges: Range[];
}

/** A frame of a sequence; a file of one volume has one. */
export interface FrameInfo {
  /** Its number, as names of files have it; its place where it has none. */
  number: number;
  /** Its time in the unit of the timeline; null where that is not known. */
  time: number | null;
  /** The group of the file that holds it. */
  group: number;
}

export interface Timeline {
  /** Frames a unit of time; 0 where it is not known. */
  rate: number;
  loop: "none" | "repeat" | "ping-pong";
  unit: string;
  pattern: string;
  frames: FrameInfo[];
}

/** A cube of voxels of one value. */
export interface Tile {
  corner: number[];
  edge: number;
  active: boolean;
  values: number[];
}

/** What a grid consists of. */
export interface Skeleton {
  /** Corners of the regions that hold a leaf: three numbers each. */
  corners: Int32Array;
  tiles: Tile[];
}

/** The voxels of a region at multiples of 2^level. */
export interface Block {
  /** [x][y][z][component], with 128 >> level voxels along each axis. */
  values: Float32Array;
  /** [x][y][z]: 1 where a voxel is active. */
  active: Uint8Array;
}

type Export = (...numbers: (number | bigint)[]) => number;

const FLOAT = 0;
const ALL_SETS = 0xff;
const TILE_BYTES = 24;

/** An instance of the core. One at a time of its functions runs; each worker has its own. */
export class Core {
  readonly #functions: Record<string, Export>;
  readonly #memory: WebAssembly.Memory;
  readonly #handle: number;
  #source: Source | null = null;
  #failure: unknown = null;

  private constructor(module: WebAssembly.Module) {
    const imports = { inrv: { read: this.#read.bind(this) } };
    const exports = new WebAssembly.Instance(module, imports).exports;
    this.#functions = exports as Record<string, Export>;
    this.#memory = exports.memory as WebAssembly.Memory;
    this.call("_initialize");
    this.#handle = this.#room(4);
  }

  /** Makes an instance of a module that was compiled before. */
  static of(module: WebAssembly.Module): Core {
    return new Core(module);
  }

  /** Opens a file or a sequence. */
  open(source: Source): OpenFile {
    this.#source = source;
    const host = this.call("inrv_imported_host");
    this.checked("inrv_sequence_open", host, BigInt(source.size), 0, this.#handle);
    return new OpenFile(this, this.#pointer(), source);
  }

  /** The bytes of the module's memory, until it grows. */
  get bytes(): Uint8Array {
    return new Uint8Array(this.#memory.buffer);
  }

  /** The same as numbers of all kinds. */
  get view(): DataView {
    return new DataView(this.#memory.buffer);
  }

  /** @internal Calls a function of the core. */
  call(name: string, ...numbers: (number | bigint)[]): number {
    const found = this.#functions[name];
    if (!found) throw new InrvError(`the module has no function ${name}`);
    return found(...numbers);
  }

  /** @internal Calls a function that gives an error, which is thrown. */
  checked(name: string, ...numbers: (number | bigint)[]): void {
    this.#failure = null;
    const code = this.call(name, ...numbers);
    if (code === 0) return;
    if (this.#failure) throw this.#failure;
    throw errorOf(code, this.#source?.name ?? "the file");
  }

  /** @internal Opens something by a function whose last argument is where its address goes. */
  opened(name: string, ...numbers: (number | bigint)[]): number {
    this.checked(name, ...numbers, this.#handle);
    return this.#pointer();
  }

  /** @internal Reads from another source than before. */
  from(source: Source): void {
    this.#source = source;
  }

  /** @internal Gives memory to a function, which is free again afterwards. */
  lent<T>(size: number, use: (place: number) => T): T {
    const place = this.#room(size);
    try {
      return use(place);
    } finally {
      this.call("free", place);
    }
  }

  /** @internal The text at an address. */
  text(place: number, size?: number): string {
    const bytes = this.bytes;
    const end = size === undefined ? bytes.indexOf(0, place) : place + size;
    return new TextDecoder().decode(bytes.slice(place, end));
  }

  #pointer(): number {
    return this.view.getUint32(this.#handle, true);
  }

  #room(size: number): number {
    const place = this.call("malloc", Math.max(size, 1));
    if (!place) throw new InrvError(`there is no memory for ${size.toLocaleString("en")} bytes`);
    return place;
  }

  #read(_context: number, offset: bigint, to: number, size: number): number {
    try {
      const found = this.#source!.read(Number(offset), size);
      if (found.length < size) return rule("I", 1);
      this.bytes.set(found.subarray(0, size), to);
      return 0;
    } catch (error) {
      this.#failure = error;
      return rule("I", 1);
    }
  }
}

/** A file that is open: frames in groups, each of which has grids. */
export class OpenFile {
  readonly timeline: Timeline;
  readonly #core: Core;
  readonly #sequence: number;
  readonly #source: Source;
  /** The group that is open: frames are looked at in their order. */
  #open: { number: number; file: number } | null = null;
  /** Open decoders of its grids, by their numbers; the one that was used last stands last. */
  readonly #decoders = new Map<number, number>();

  /** @internal */
  constructor(core: Core, sequence: number, source: Source) {
    this.#core = core;
    this.#sequence = sequence;
    this.#source = source;
    this.timeline = this.#timeline();
  }

  /** Gives the grids of a frame, by its place in the timeline. */
  grids(place: number): GridInfo[] {
    const frame = this.#frame(place);
    const group = this.#group(frame.group);
    const found = this.#core.call("inrv_frame_of", group, frame.number);
    const own = Math.max(found, 0);
    const count = this.#core.call("inrv_grid_count", group);
    const grids: GridInfo[] = [];
    for (let number = 0; number < count; number++) {
      const grid = this.#grid(this.#core.call("inrv_grid_at", group, number), number);
      if (grid.frame === own) grids.push(grid);
    }
    return grids.sort((one, other) => one.position - other.position);
  }

  /** Gives what a grid consists of, without its values. */
  skeleton(place: number, grid: number): Skeleton {
    const decoder = this.#decoder(place, grid);
    const components = this.#components(place, grid);
    const found = this.#core.call("inrv_decoder_skeleton", decoder);
    const view = this.#core.view;
    const [regions, tiles, corners, first] = [4, 8, 12, 16].map((at) =>
      view.getUint32(found + at, true),
    ) as [number, number, number, number];
    return {
      corners: new Int32Array(view.buffer.slice(corners, corners + 12 * regions)),
      tiles: Array.from({ length: tiles }, (_, number) => {
        const tile = first + TILE_BYTES * number;
        const values = view.getUint32(tile + 20, true);
        return {
          corner: [0, 4, 8].map((at) => view.getInt32(tile + at, true)),
          edge: view.getInt32(tile + 12, true),
          active: view.getInt32(tile + 16, true) !== 0,
          values: Array.from({ length: components }, (_, at) =>
            view.getFloat32(values + 4 * at, true),
          ),
        };
      }),
    };
  }

  /**
   * Decodes every voxel of a region at multiples of 2^level: leaves, tiles and background.
   *
   * @param corner of the region: multiples of 128
   */
  block(place: number, grid: number, corner: ArrayLike<number>, level: number): Block {
    const core = this.#core;
    const decoder = this.#decoder(place, grid);
    const voxels = (REGION >> level) ** 3;
    const bytes = 4 * voxels * this.#components(place, grid);
    return core.lent(12 + bytes + voxels, (at) => {
      for (let axis = 0; axis < 3; axis++) core.view.setInt32(at + 4 * axis, corner[axis]!, true);
      const [values, active] = [at + 12, at + 12 + bytes];
      core.from(this.#source);
      core.checked("inrv_decode_block", decoder, at, level, FLOAT, values, active);
      const { buffer } = core.view;
      return {
        values: new Float32Array(buffer.slice(values, values + bytes)),
        active: new Uint8Array(buffer.slice(active, active + voxels)),
      };
    });
  }

  /** Closes the file and all that belongs to it. */
  close(): void {
    this.#closeGroup();
    this.#core.call("inrv_sequence_close", this.#sequence);
  }

  #frame(place: number): FrameInfo {
    const found = this.timeline.frames[place];
    if (!found) throw new InrvError(`there is no frame at place ${place}`);
    return found;
  }

  #timeline(): Timeline {
    const core = this.#core;
    const count = core.call("inrv_sequence_frame_count", this.#sequence);
    const frames: FrameInfo[] = [];
    for (let place = 0; place < count; place++) {
      const at = core.call("inrv_sequence_frame_at", this.#sequence, place);
      const view = core.view;
      frames.push({
        number: view.getInt32(at, true) ? view.getFloat64(at + 8, true) : place,
        time: view.getInt32(at + 4, true) ? view.getFloat64(at + 16, true) : null,
        group: view.getInt32(at + 24, true),
      });
    }
    const at = core.call("inrv_sequence_timeline", this.#sequence);
    const view = core.view;
    const [above, below] = [view.getInt32(at, true), view.getInt32(at + 4, true)];
    const loops = ["none", "repeat", "ping-pong"] as const;
    return {
      rate: below ? above / below : 0,
      loop: loops[view.getInt32(at + 8, true)] ?? "none",
      unit: core.text(view.getUint32(at + 32, true)),
      pattern: core.text(view.getUint32(at + 36, true)),
      frames,
    };
  }

  #group(number: number): number {
    if (this.#open?.number === number) return this.#open.file;
    this.#closeGroup();
    this.#core.from(this.#source);
    const file = this.#core.opened("inrv_sequence_group", this.#sequence, number);
    this.#open = { number, file };
    return file;
  }

  #closeGroup(): void {
    for (const decoder of this.#decoders.values()) this.#core.call("inrv_decoder_close", decoder);
    this.#decoders.clear();
    if (this.#open) this.#core.call("inrv_close", this.#open.file);
    this.#open = null;
  }

  /** A decoder of a grid. The last few stay open: each has some 60 MB. */
  #decoder(place: number, grid: number): number {
    const file = this.#group(this.#frame(place).group);
    let found = this.#decoders.get(grid);
    if (found === undefined) {
      if (this.#decoders.size >= MOST_DECODERS) {
        const [oldest, decoder] = this.#decoders.entries().next().value!;
        this.#core.call("inrv_decoder_close", decoder);
        this.#decoders.delete(oldest);
      }
      this.#core.from(this.#source);
      found = this.#core.opened("inrv_decoder_open", file, grid, ALL_SETS);
    }
    this.#decoders.delete(grid);
    this.#decoders.set(grid, found);
    return found;
  }

  #components(place: number, grid: number): number {
    const at = this.#core.call("inrv_grid_at", this.#group(this.#frame(place).group), grid);
    return this.#core.view.getInt32(at + 12, true);
  }

  #grid(at: number, number: number): GridInfo {
    const core = this.#core;
    const view = core.view;
    const whole = (offset: number) => view.getInt32(at + offset, true);
    const many = (count: number, offset: number, step: number, read: (at: number) => number) =>
      Array.from({ length: count }, (_, place) => read(at + offset + step * place));
    const real = (place: number) => view.getFloat64(place, true);
    const corner = (place: number) => view.getInt32(place, true);
    const components = whole(12) === 3 ? 3 : 1;
    return {
      number,
      name: core.text(view.getUint32(at, true), view.getUint32(at + 4, true)),
      type: core.text(view.getUint32(at + 8, true)),
      components,
      passthrough: whole(16) !== 0,
      frame: whole(20),
      position: whole(24),
      gridClass: CLASSES[whole(28)] ?? "unknown",
      wholeLeaves: whole(32) !== 0,
      background: many(components, 36, 4, (place) => view.getFloat32(place, true)),
      matrix: many(16, 48, 8, real),
      activeVoxels: Number(view.getBigUint64(at + 176, true)),
      leafVoxels: Number(view.getBigUint64(at + 184, true)),
      box: whole(192) ? { lower: many(3, 196, 4, corner), upper: many(3, 208, 4, corner) } : null,
      ranges: Array.from({ length: components }, (_, own) => ({
        minimum: real(at + 224 + 24 * own),
        maximum: real(at + 232 + 24 * own),
      })),
    };
  }
}

const MOST_DECODERS = 3;

function rule(letter: string, number: number): number {
  return (letter.charCodeAt(0) << 8) | number;
}

function errorOf(code: number, name: string): InrvError {
  if (code === 1) return new InrvError(`${name} needs more memory than the browser gives`);
  if (code === 2) return new InrvError(`${name}: the decoder was asked for what it does not have`);
  if (code === 3) return new InrvError(`${name} is sound, but this decoder has no such field`);
  const id = `${String.fromCharCode(code >> 8)}${code & 255}`;
  const what = RULES[id];
  return new InrvError(`${name} cannot be read: ${what ? `${what} (${id})` : `rule ${id}`}`, id);
}
