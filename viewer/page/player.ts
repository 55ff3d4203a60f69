/** Which frame is due, by the clock and the file's own rate. */

import type { Timeline } from "../decoder/index.js";

const MOST_LATE = 24; // frames that are left out at once
const DEFAULT_RATE = 24; // frames a second, where the file does not tell

export class Player {
  place = 0;
  playing = false;
  /** Frames that were due, and not decoded or drawn in time. */
  dropped = 0;
  loop: Timeline["loop"];
  #due = 0;
  #forward = true;

  constructor(readonly timeline: Timeline) {
    this.loop = timeline.loop === "none" ? "repeat" : timeline.loop;
  }

  /** Frames a second. */
  get rate(): number {
    const { rate, unit } = this.timeline;
    return rate > 0 && (unit === "" || unit === "s") ? rate : DEFAULT_RATE;
  }

  get count(): number {
    return this.timeline.frames.length;
  }

  play(now: number): void {
    this.playing = this.count > 1;
    this.#due = now + 1000 / this.rate;
    this.dropped = 0;
  }

  /** The places that are shown next, in their order. */
  ahead(count: number): number[] {
    return this.#next(Math.min(count, this.count - 1)).map(([place]) => place);
  }

  /**
   * Goes on where the next frame is due. Frames that are late are left out, and counted; where none
   * of those that are due is ready, the clock stands still.
   *
   * @param ready whether a frame can be shown
   * @returns whether there is another frame to show
   */
  advance(now: number, ready: (place: number) => boolean): boolean {
    if (!this.playing || now < this.#due) return false;
    const each = 1000 / this.rate;
    const late = Math.min(Math.floor((now - this.#due) / each), MOST_LATE);
    const due = this.#next(late + 1);
    const left = due.findLastIndex(([place]) => ready(place));
    this.dropped += left < 0 ? late : left;
    this.#due += each * (left < 0 ? late : left + 1);
    if (left < 0) return false;
    [this.place, this.#forward] = due[left]!;
    this.#due = Math.max(this.#due, now);
    return true;
  }

  /** Places that come next, and whether the player goes forward there. */
  #next(count: number): [number, boolean][] {
    const found: [number, boolean][] = [];
    let [place, forward] = [this.place, this.#forward];
    for (let step = 0; step < count; step++) {
      [place, forward] = this.#after(place, forward);
      found.push([place, forward]);
    }
    return found;
  }

  #after(place: number, forward: boolean): [number, boolean] {
    const next = place + (forward ? 1 : -1);
    if (next >= 0 && next < this.count) return [next, forward];
    if (this.loop === "ping-pong")
      return [Math.max(0, Math.min(this.count - 1, place + (forward ? -1 : 1))), !forward];
    return [0, true];
  }
}
