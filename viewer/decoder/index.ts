/**
 * Reads .inrv files in a browser: the core as WebAssembly, in workers.
 *
 *     import { open } from "@inrv/decoder";
 *
 *     const file = await open("https://host/fire.inrv");
 *     const [density] = await file.grids();
 *     const { corners } = await file.skeleton(density);
 *     const block = await file.block(density, corners.slice(0, 3), 2); // every 4th voxel
 */

import moduleText from "inrv:module";
import workerText from "inrv:worker";

import { InrvError, type Block, type GridInfo, type Skeleton, type Timeline } from "./core.js";
import { sendable, type Given, type Sent } from "./sources.js";
import type { Answer, Asked, Calls } from "./worker.js";

export { COARSEST, Core, InrvError, OpenFile, REGION } from "./core.js";
export type {
  Block,
  FrameInfo,
  GridClass,
  GridInfo,
  Range,
  Skeleton,
  Source,
  Tile,
  Timeline,
} from "./core.js";
export { bytesSource, type Given } from "./sources.js";

/** How a file is opened. */
export interface Options {
  /** What errors call it; the last part of its URL by default. */
  name?: string;
  /** Workers that decode at once; as many as there are processors, up to 8, by default. */
  workers?: number;
}

let compiled: Promise<WebAssembly.Module> | undefined;

/** Compiles the core, once. */
export function coreModule(): Promise<WebAssembly.Module> {
  return (compiled ??= compile());
}

async function compile(): Promise<WebAssembly.Module> {
  const packed = Uint8Array.from(atob(moduleText), (letter) => letter.charCodeAt(0));
  const unpacked = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return WebAssembly.compile(await new Response(unpacked).arrayBuffer());
}

/** Opens a file or a sequence. What its bytes break is thrown as an InrvError. */
export async function open(given: Given, options: Options = {}): Promise<InrvFile> {
  const processors = typeof navigator === "undefined" ? 2 : (navigator.hardwareConcurrency ?? 2);
  const count = options.workers ?? Math.max(1, Math.min(8, processors - 1));
  const module = await coreModule();
  const sent = sendable(given);
  const name = options.name ?? ("url" in sent ? lastPart(sent.url) : "the file");
  const pool = new Pool(count, module, sent, name);
  try {
    return new InrvFile(pool, await pool.first, name);
  } catch (error) {
    pool.close();
    throw error;
  }
}

/** An open file. Its frames come in the order of their numbers. */
export class InrvFile {
  readonly #pool: Pool;

  /** @internal */
  constructor(
    pool: Pool,
    readonly timeline: Timeline,
    readonly name: string,
  ) {
    this.#pool = pool;
  }

  /** Workers that decode at once. */
  get workers(): number {
    return this.#pool.size;
  }

  /** Lists the grids of a frame, by its place in the timeline. */
  grids(place = 0): Promise<GridInfo[]> {
    return this.#pool.ask("grids", [place]);
  }

  /** Tells what a grid consists of, without its values. */
  skeleton(grid: GridInfo, place = 0): Promise<Skeleton> {
    return this.#pool.ask("skeleton", [place, grid.number]);
  }

  /**
   * Decodes every voxel of a region at multiples of 2^level.
   *
   * @param corner of the region in index space: multiples of 128
   * @param urgency the higher, the sooner
   */
  block(
    grid: GridInfo,
    corner: ArrayLike<number>,
    level = 0,
    place = 0,
    urgency = 0,
  ): Promise<Block> {
    return this.#pool.ask("block", [place, grid.number, Array.from(corner), level], urgency);
  }

  /** Forgets blocks that were asked for and not begun: their promises are rejected. */
  forget(): void {
    this.#pool.forget();
  }

  /** Ends the workers. */
  close(): void {
    this.#pool.close();
  }
}

interface Waiting {
  call: keyof Calls;
  given: unknown[];
  urgency: number;
  resolve: (found: never) => void;
  reject: (error: unknown) => void;
}

/** Workers that share the calls for one file. */
class Pool {
  readonly first: Promise<Timeline>;
  readonly #module: WebAssembly.Module;
  readonly #sent: Sent;
  readonly #name: string;
  readonly #code: string;
  readonly #idle: Worker[] = [];
  readonly #all: Worker[] = [];
  #waiting: Waiting[] = [];

  constructor(
    readonly size: number,
    module: WebAssembly.Module,
    sent: Sent,
    name: string,
  ) {
    this.#module = module;
    this.#sent = sent;
    this.#name = name;
    this.#code = URL.createObjectURL(new Blob([workerText], { type: "text/javascript" }));
    this.first = this.#add();
  }

  ask<T>(call: keyof Calls, given: unknown[], urgency = Infinity): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      this.#waiting.push({ call, given, urgency, resolve, reject });
      this.#work();
    });
  }

  forget(): void {
    const left = this.#waiting.filter((own) => own.call === "block");
    this.#waiting = this.#waiting.filter((own) => own.call !== "block");
    for (const own of left) own.reject(new InrvError("it is not wanted any more", "forgotten"));
  }

  close(): void {
    this.forget();
    for (const worker of this.#all) worker.terminate();
    URL.revokeObjectURL(this.#code);
  }

  async #add(): Promise<Timeline> {
    const worker = new Worker(this.#code);
    this.#all.push(worker);
    const given = [this.#module, this.#sent, this.#name];
    const timeline = await told<Timeline>(worker, "open", given);
    this.#idle.push(worker);
    this.#work();
    return timeline;
  }

  #work(): void {
    while (this.#waiting.length && this.#idle.length) {
      let best = 0;
      for (let place = 1; place < this.#waiting.length; place++)
        if (this.#waiting[place]!.urgency > this.#waiting[best]!.urgency) best = place;
      const [own] = this.#waiting.splice(best, 1) as [Waiting];
      const worker = this.#idle.pop()!;
      told(worker, own.call, own.given)
        .then(own.resolve as (found: unknown) => void, own.reject)
        .finally(() => {
          this.#idle.push(worker);
          this.#work();
        });
    }
    // A worker opens the file for itself, so there are only as many as are needed.
    if (this.#waiting.length && this.#all.length < this.size && this.#all.length > 0)
      void this.#add().catch(() => undefined);
  }
}

/** Asks a worker, which does nothing else, and waits for its answer. */
function told<T>(worker: Worker, call: keyof Calls, given: unknown[]): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    worker.onmessage = ({ data }: MessageEvent<Answer>) => {
      if ("message" in data) reject(new InrvError(data.message, data.rule));
      else resolve(data.found as T);
    };
    worker.onerror = (event) => reject(new InrvError(`a worker stopped: ${event.message}`));
    worker.postMessage({ call, given } satisfies Asked);
  });
}

function lastPart(url: string): string {
  return decodeURIComponent(new URL(url).pathname.split("/").pop() || url);
}
