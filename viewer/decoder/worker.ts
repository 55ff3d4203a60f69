/** A worker: an instance of the core, and the file that it has open. */

import { Core, InrvError, type OpenFile } from "./core.js";
import { sourceOf, type Sent } from "./sources.js";

/** What a worker does, by the names of calls. */
export interface Calls {
  open(module: WebAssembly.Module, sent: Sent, name: string): OpenFile["timeline"];
  grids(place: number): ReturnType<OpenFile["grids"]>;
  skeleton(place: number, grid: number): ReturnType<OpenFile["skeleton"]>;
  block(
    place: number,
    grid: number,
    corner: number[],
    level: number,
  ): ReturnType<OpenFile["block"]>;
}

export interface Asked {
  call: keyof Calls;
  given: unknown[];
}

export type Answer = { found: unknown } | { message: string; rule: string };

let file: OpenFile;

const calls: Calls = {
  open(module, sent, name) {
    file = Core.of(module).open(sourceOf(sent, name));
    return file.timeline;
  },
  grids: (place) => file.grids(place),
  skeleton: (place, grid) => file.skeleton(place, grid),
  block: (place, grid, corner, level) => file.block(place, grid, corner, level),
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
    answer = { found };
  } catch (error) {
    const trapped = error instanceof WebAssembly.RuntimeError;
    const message = trapped
      ? "the decoder stopped: it needs more memory"
      : String((error as Error).message);
    answer = { message, rule: error instanceof InrvError ? error.rule : "" };
  }
  (self as unknown as Worker).postMessage(answer, moved);
};
