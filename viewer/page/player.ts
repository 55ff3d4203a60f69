/** Which frame is due, by the clock and the file's own rate. */

import type { Timeline } from "../decoder/index.js";

const DEFAULT_RATE = 24; // frames a second, where the file does not tell

export class Player {
  place = 0;
  playing = false;
  /** Frames that were due and not decoded in time. */
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
    const found: number[] = [];
    let [place, forward] = [this.place, this.#forward];
    for (let step = 0; step < Math.min(count, this.count - 1); step++) {
      [place, forward] = this.#after(place, forward);
      found.push(place);
    }
    return found;
  }

  /**
   * Goes on where the next frame is due; what is not ready then is waited for, and counted.
   *
   * @param ready whether a frame can be shown
   * @returns whether there is another frame to show
   */
  advance(now: number, ready: (place: number) => boolean): boolean {
    if (!this.playing || now < this.#due) return false;
    const [next, forward] = this.#after(this.place, this.#forward);
    if (!ready(next)) {
      this.dropped += Math.floor((now - this.#due) / (1000 / this.rate));
      this.#due += Math.floor((now - this.#due) / (1000 / this.rate)) * (1000 / this.rate);
      return false;
    }
    [this.place, this.#forward] = [next, forward];
    this.#due = Math.max(this.#due + 1000 / this.rate, now);
    return true;
  }

  #after(place: number, forward: boolean): [number, boolean] {
    const next = place + (forward ? 1 : -1);
    if (next >= 0 && next < this.count) return [next, forward];
    if (this.loop === "ping-pong")
      return [Math.max(0, Math.min(this.count - 1, place + (forward ? -1 : 1))), !forward];
    return [0, true];
  }
}
