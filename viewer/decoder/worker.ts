/** A worker: an instance of the core, and the files that it has open. */

import { Core, InrvError, type OpenFile } from "./core.js";
import { sourceOf, type Sent } from "./sources.js";

/** What a worker does, by the names of `Calls`. */
export interface Calls {
  start(module: WebAssembly.Module): void;
  open(key: number, sent: Sent, name: string): OpenFile["timeline"];
  grids(key: number, place: number): ReturnType<OpenFile["grids"]>;
  skeleton(key: number, place: number, grid: number): ReturnType<OpenFile["skeleton"]>;
  block(
    key: number,
    place: number,
    grid: number,
    corner: number[],
    level: number,
  ): ReturnType<OpenFile["block"]>;
  close(key: number): void;
}

export interface Asked {
  id: number;
  call: keyof Calls;
  given: unknown[];
}

export type Answer = { id: number } & ({ found: unknown } | { message: string; rule: string });

let module: WebAssembly.Module;
const open = new Map<number, { file: OpenFile; core: Core }>();

function file(key: number): OpenFile {
  const found = open.get(key);
  if (!found) throw new InrvError("the file is closed");
  return found.file;
}

const calls: Calls = {
  start: (given) => void (module = given),
  open(key, sent, name) {
    // Memory of WebAssembly never shrinks: each file has an instance of its own.
    const core = Core.of(module);
    const found = core.open(sourceOf(sent, name));
    open.set(key, { file: found, core });
    return found.timeline;
  },
  grids: (key, place) => file(key).grids(place),
  skeleton: (key, place, grid) => file(key).skeleton(place, grid),
  block: (key, place, grid, corner, level) => file(key).block(place, grid, corner, level),
  close: (key) => void open.delete(key),
};

self.onmessage = ({ data }: MessageEvent<Asked>) => {
  let answer: Answer;
  let moved: Transferable[] = [];
  try {
    const call = calls[data.call] as (...given: unknown[]) => unknown;
    const found = call(...data.given);
    if (data.call === "block") {
      const { values, active } = found as ReturnType<Calls["block"]>;
      moved = [values.buffer, active.buffer];
    }
    answer = { id: data.id, found };
  } catch (error) {
    const trapped = error instanceof WebAssembly.RuntimeError;
    const message = trapped
      ? "the decoder stopped: it needs more memory"
      : String((error as Error).message);
    answer = { id: data.id, message, rule: error instanceof InrvError ? error.rule : "" };
  }
  (self as unknown as Worker).postMessage(answer, moved);
};
