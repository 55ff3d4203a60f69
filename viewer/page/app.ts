/** The viewer: what is open, what is loaded of it, and what is drawn. */

import { COARSEST, type GridInfo } from "../decoder/index.js";
import { Camera } from "./camera.js";
import { histogramOf, short, type Histogram } from "./histogram.js";
import { Loader, type Wish } from "./loader.js";
import { firstGrid, glowOf, glowWindow, isDense, lookOf, type Look } from "./looks.js";
import { transformed, unit, voxelEdges, worldOf, type Vector } from "./matrices.js";
import { Player } from "./player.js";
import { GATHERED, Renderer, type Backdrop, type Scene, type Setting } from "./renderer.js";
import { Voxels } from "./slices.js";
import { Difference, matching, samePlace, type Volume } from "./volumes.js";

/** How two files are shown: one of them, one beside the other, a wipe, or how far they lie apart. */
export type Comparison = "one" | "side by side" | "wipe" | "difference";

// What is drawn while something moves, from fast machines to slow ones: the share of the pixels along
// each axis, and how many voxels a step is long.
const DRAFTS = [
  { scale: 1, steps: 1 },
  { scale: 0.7, steps: 1 },
  { scale: 0.5, steps: 1.5 },
  { scale: 0.35, steps: 2 },
  { scale: 0.25, steps: 3 },
  { scale: 0.18, steps: 4 },
];
const UNCLIPPED: [Vector, Vector] = [
  [0, 0, 0],
  [1, 1, 1],
];
const WHOLE = { scale: 1, steps: 1 };
const SLOW = 55; // milliseconds a picture, above which fewer pixels are drawn
const QUICK = 18;
const AFTER_FIRST = 2e6; // urgency of what is wanted when all is seen coarsely: see Loader
const AHEAD = 8; // frames that are decoded before they are due

export class App {
  readonly camera = new Camera();
  exposure = 1;
  backdrop: Backdrop = "dark";
  /** Angle around the axis that points up, from which the light comes, in radians. */
  light = 0.96;
  /** Whether active voxels are marked. */
  marks = false;
  player: Player;
  comparison: Comparison = "one";
  wipe = 0.5;
  /** The part of the box that is shown: shares along each axis of index space. */
  clip = structuredClone(UNCLIPPED);
  grid: GridInfo | null = null;
  glow: GridInfo | null = null;
  glowStrength = 60;
  /** The value below which 99 % of what glows lie; null until that is known. */
  #hottest: number | null = null;
  look: Look | null = null;
  histogram: Histogram | null = null;
  /** Called whenever what the panel tells has changed. */
  changed: () => void = () => undefined;
  /** What went wrong last, for the user. */
  error = "";
  /** Pictures a second while the camera moves. */
  rate = 0;
  stepVoxels = 1;
  /** Whether somebody else draws: nothing is drawn by itself, and the canvas keeps its size. */
  still = false;
  difference: Difference | null = null;
  #grids: GridInfo[] = [];
  /** The place of the frame in which the grid was chosen: its range is known best. */
  #chosenAt = 0;
  #askedAt = 0;
  readonly #loaders = new Map<string, Promise<Loader>>();
  readonly #ready = new Map<string, Loader>();
  /**
   * What could not be loaded, and why; null of a glow, which may be missing. Players do not wait for
   * it, and it is tried again when it is due.
   */
  readonly #failed = new Map<string, Error | null>();
  readonly #last = new Map<string, Loader>();
  /** How often all that was loaded was let go. */
  #drops = 0;
  #chosen: Promise<void> = Promise.resolve();
  #dirty = true;
  #gathered = 0;
  #strip = 0;
  #moved = 0;
  #draft = 3;
  #rough = false;
  #lastFrame = 0;
  #exact = false;

  /**
   * @param volume the file that is shown
   * @param other the one that it is compared with
   * @param budget bytes on the GPU for all that is loaded
   */
  constructor(
    readonly renderer: Renderer,
    readonly volume: Volume,
    readonly other: Volume | null,
    readonly budget: number,
  ) {
    this.player = new Player(volume.timeline);
    if (other) this.difference = new Difference(volume, other);
  }

  get grids(): GridInfo[] {
    return this.#grids;
  }

  /** What all that is drawn has in common. */
  get setting(): Setting {
    const aside = 0.61; // the light comes from above
    const toLight: Vector = [aside * Math.sin(this.light), 0.8, aside * Math.cos(this.light)];
    return {
      toLight: unit(this.camera.raised(toLight)),
      upward: this.camera.upward,
      exposure: this.exposure,
      backdrop: this.backdrop,
    };
  }

  /**
   * Begins.
   *
   * @param name of the grid that is shown; without it the one that a user would look at first
   * @param number of the frame; without it the first one
   */
  async start(name?: string, number?: number): Promise<void> {
    const asked = this.volume.timeline.frames.findIndex((own) => own.number === number);
    this.#askedAt = Math.max(0, asked);
    const wanted = await this.#firstOf(this.#askedAt, name);
    // A file does not say which axis points up. In scans it is z; fires and clouds are mostly tall.
    const [low, high] = this.#box(wanted);
    this.camera.up = isDense(wanted) || high[2] - low[2] > high[1] - low[1] ? 2 : 1;
    this.#frameCamera(wanted);
    const { error } = this;
    await this.choose(wanted);
    this.error ||= error;
    requestAnimationFrame((now) => this.#tick(now));
  }

  /**
   * Goes to the first frame that has a grid to show: a shot may begin with empty ones. What keeps
   * the one that was asked for from being shown is told.
   */
  async #firstOf(asked: number, name?: string): Promise<GridInfo> {
    let failure: Error | null = null;
    for (let step = 0; step < this.player.count; step++) {
      const place = (asked + step) % this.player.count;
      try {
        this.#grids = await this.volume.grids(place);
      } catch (error) {
        failure ??= error as Error;
        continue;
      }
      const found =
        name === undefined
          ? firstGrid(this.#grids)
          : this.#grids.find((own) => own.name === name && own.activeVoxels > 0);
      this.player.place = place;
      if (found) {
        this.error = failure?.message ?? "";
        return found;
      }
    }
    const named = name === undefined ? "" : ` named ${name}`;
    throw failure ?? new Error(`${this.volume.name} has no grid with values${named}`);
  }

  /** Shows another grid. */
  choose(grid: GridInfo): Promise<void> {
    return (this.#chosen = this.#choose(grid));
  }

  async #choose(grid: GridInfo): Promise<void> {
    this.#drop();
    this.grid = grid;
    this.#chosenAt = this.player.place;
    this.glow = glowOf(grid, this.#grids);
    this.#hottest = null;
    this.look = lookOf(grid, [0, 0]);
    this.touch();
    this.#load();
    const { glow } = this;
    const spread = (own: GridInfo, urgency?: number) =>
      histogramOf(this.volume, own, this.player.place, urgency).catch((error: Error) => {
        this.error = error.message; // what can be read is shown nevertheless
        return null;
      });
    const known = spread(grid);
    const heat = glow && (glow === grid ? known : spread(glow, AFTER_FIRST));
    const histogram = await known;
    if (this.grid !== grid) return;
    this.histogram = histogram;
    if (grid.components === 1 && histogram?.seen) widen(grid, histogram.seen);
    if (histogram) this.look = lookOf(grid, histogram.spread);
    this.touch();
    const hot = await heat;
    if (this.grid !== grid || !glow || !hot) return;
    if (hot.seen) widen(glow, hot.seen);
    this.#hottest = hot.spread[1] || null;
    this.touch();
  }

  /** Shows all of the chosen grid. */
  reframe(): void {
    if (this.grid) this.#frameCamera(this.grid);
    this.touch(true);
  }

  /** Draws anew, because something has changed. */
  touch(moving = false): void {
    this.#dirty = true;
    this.#gathered = 0;
    if (moving) {
      this.#moved = performance.now();
      for (const loader of this.#ready.values()) loader.pump();
    }
    this.changed();
  }

  /** Shows a frame, when it is there. */
  go(place: number): void {
    this.player.place = Math.max(0, Math.min(this.player.count - 1, place));
    this.error = "";
    this.#load();
    this.touch();
  }

  /** The chosen grid as the frame that is due has it. */
  async #gridNow(): Promise<GridInfo> {
    const { place } = this.player;
    if (place === this.#chosenAt) return this.grid!;
    const found = matching(this.grid!, await this.volume.grids(place));
    if (!found) throw new Error(missing(this.volume, this.grid!, place));
    return found;
  }

  /** The exact voxels of the chosen grid, in the frame that is due. */
  async voxels(): Promise<Voxels> {
    const { place } = this.player;
    return new Voxels(this.volume, await this.#gridNow(), place);
  }

  /** The share of the pixels along each axis that are drawn while something moves. */
  get draftScale(): number {
    return DRAFTS[this.#draft]!.scale;
  }

  /** Whether the frame is due that was asked for at first. */
  get isFirst(): boolean {
    return this.player.place === this.#askedAt;
  }

  /** Whether the picture is still drawn, strip by strip. */
  get isDrawing(): boolean {
    return !this.#rough && this.#gathered < 1 && !this.still;
  }

  /** Why nothing is seen, where that can be told. */
  get remark(): string {
    const { histogram, look } = this;
    if (!histogram || !look || this.comparison === "difference") return "";
    if (!histogram.seen) return histogram.isWhole ? "no active voxel has a finite value" : "";
    const [least, most] = histogram.seen;
    if (look.mode === "surface" && (look.isovalue < least || look.isovalue > most))
      return `no surface at ${look.isovalue}: values are ${short(least)} to ${short(most)}`;
    if (histogram.hasOdd) return "NaN is shown as background";
    const isNothing = histogram.isWhole && least === 0 && most === 0;
    return isNothing ? "all active voxels have the value 0" : "";
  }

  /** The chosen grid as the frame has it that is shown. */
  get shownGrid(): GridInfo | null {
    const loader = this.grid && this.#shownLoader("one", this.grid);
    return loader && loader.place !== this.#chosenAt ? loader.grid : this.grid;
  }

  /** Loaders of what is shown now. */
  get shown(): Loader[] {
    return this.#keys().flatMap((key) => this.#ready.get(key) ?? []);
  }

  /** Waits until all that is shown is as fine as it shall be. */
  async loaded(): Promise<void> {
    for (const key of this.#keys()) {
      const loader = await this.#loaders.get(key)?.catch(() => null);
      const failure = this.#failed.get(key);
      if (failure) throw failure;
      await loader?.done();
      if (loader?.error) throw loader.error;
    }
  }

  /** Waits until look and values of what is shown are there. */
  async settled(): Promise<void> {
    await this.#chosen;
    await this.loaded();
  }

  /** Draws one picture in which each sample lies in the middle of its step, and nothing is shifted. */
  drawExact(): void {
    this.#exact = true;
    this.#gathered = 0;
    this.#draw(WHOLE);
    this.#exact = false;
  }

  /** Draws as many pictures as are gathered at rest. */
  drawWhole(): void {
    for (this.#gathered = 0; this.#gathered < GATHERED;) this.#draw(WHOLE);
    this.#dirty = false;
  }

  /** All that another program needs in order to draw the same picture of fog. */
  told(): Record<string, unknown> {
    const scene = this.scene()!;
    const { width, height } = this.renderer.canvas;
    return {
      width,
      height,
      view: Array.from(this.camera.matrix(width / height, this.#radius())),
      lower: scene.lower,
      upper: scene.upper,
      voxel: scene.voxel,
      stepVoxels: this.stepVoxels,
      toLight: this.setting.toLight,
      exposure: this.setting.exposure,
      absorption:
        (Math.LN2 * scene.look.density) /
        scene.extent /
        (scene.look.window[1] - scene.look.window[0]),
      glow: scene.glow ? scene.glow.strength / scene.extent : 0,
      hottest: scene.glow?.window[1] ?? 1,
    };
  }

  scene(which: "one" | "other" | "difference" = "one"): Scene | null {
    const loader = this.#shownLoader(which, this.grid!);
    if (!loader || !this.look || !loader.grid.box) return null;
    const { bricks } = loader;
    const [low, high] = this.#box(loader.grid);
    const look: Look = which === "difference" ? this.#differenceLook() : this.look;
    const glow =
      look.mode === "fog" && this.glow ? this.#shownLoader(which, this.glow)?.bricks : undefined;
    return {
      bricks,
      look,
      marks: this.marks && which !== "difference",
      loading: !loader.isDone,
      lower: low,
      upper: high,
      part: this.#part(loader.grid),
      voxel: Math.min(...voxelEdges(this.grid!)),
      extent: this.#extent(this.grid!),
      glow:
        glow && this.glow
          ? {
              bricks: glow,
              window: glowWindow(this.glow, this.#hottest ?? this.glow.ranges[0]!.maximum),
              strength: this.glowStrength,
            }
          : null,
    };
  }

  /** What is loaded of a grid in this frame; until something is, what was shown last. */
  #shownLoader(which: string, grid: GridInfo): Loader | undefined {
    const name = `${which} ${grid.name}`;
    if (this.#failed.has(this.#key(which, grid))) return undefined;
    const found = this.#ready.get(this.#key(which, grid));
    if (found && found.bricks.level <= COARSEST) this.#last.set(name, found);
    const last = this.#last.get(name);
    return last && [...this.#ready.values()].includes(last) ? last : found;
  }

  #differenceLook(): Look {
    let worst = this.difference?.worst(this.grid!.position) || 1e-12;
    if (!Number.isFinite(worst)) worst = this.look!.window[1] - this.look!.window[0];
    return {
      ...this.look!,
      mode: "window",
      map: "inferno",
      window: [0, worst],
      clear: 0,
      density: 10,
    };
  }

  #frameCamera(grid: GridInfo): void {
    const [low, high] = this.#box(grid);
    const middle = low.map((own, axis) => 0.5 * (own + high[axis]!)) as Vector;
    const radius = 0.5 * Math.hypot(...high.map((own, axis) => own - low[axis]!));
    this.camera.frame(middle, radius, this.#aspect);
  }

  /** Width of a picture as a share of its height. */
  get #aspect(): number {
    const { clientWidth, clientHeight } = this.renderer.canvas;
    return clientWidth / (clientHeight || 1) / (this.comparison === "side by side" ? 2 : 1);
  }

  #radius(): number {
    const [low, high] = this.#box(this.grid!);
    const far = [low, high].map((corner) =>
      Math.hypot(...corner.map((own, axis) => own - this.camera.target[axis]!)),
    );
    return Math.max(...far) * 1.2;
  }

  /** The box of a grid in index space, with the clipping. */
  #part(grid: GridInfo, clip = this.clip): [Vector, Vector] {
    const box = grid.box ?? { lower: [0, 0, 0], upper: [0, 0, 0] };
    return [0, 1].map((end) =>
      box.lower.map((low, axis) => {
        const high = box.upper[axis]!;
        return low - 1 + clip[end]![axis]! * (high - low + 2);
      }),
    ) as [Vector, Vector];
  }

  /** The box in world space around that. */
  #box(grid: GridInfo, clip = this.clip): [Vector, Vector] {
    const ends = this.#part(grid, clip);
    const corners = Array.from({ length: 8 }, (_, at) =>
      transformed(worldOf(grid), [0, 1, 2].map((axis) => ends[(at >> axis) & 1]![axis]!) as Vector),
    );
    return [Math.min, Math.max].map((pick) =>
      [0, 1, 2].map((axis) => pick(...corners.map((own) => own[axis]!))),
    ) as [Vector, Vector];
  }

  /** The longest side of all of a grid: clipping changes nothing of what is left. */
  #extent(grid: GridInfo): number {
    const [low, high] = this.#box(grid, UNCLIPPED);
    return Math.max(...high.map((own, axis) => own - low[axis]!));
  }

  // ---- Loading ----

  #key(which: string, grid: GridInfo, place = this.player.place): string {
    return `${which} ${grid.name} ${place}`;
  }

  /** The volumes that are looked at. */
  get #sides(): string[] {
    if (this.comparison === "one" || this.comparison === "difference") return [this.comparison];
    return ["one", "other"];
  }

  #keys(place = this.player.place): string[] {
    if (!this.grid) return [];
    const found = this.#sides.flatMap((which) => [
      this.#key(which, this.grid!, place),
      ...(this.glow && which !== "difference" ? [this.#key(which, this.glow, place)] : []),
    ]);
    return [...new Set(found)]; // what glows by itself is loaded once
  }

  /** Begins to load what is shown, and what is shown next. */
  #load(): void {
    const places = [this.player.place, ...this.#ahead()];
    for (const place of places)
      for (const which of this.#sides)
        for (const grid of [this.grid, which === "difference" ? null : this.glow])
          if (grid) this.#begin(which, grid, place);
    this.#evict(places);
    void this.#list();
  }

  /** Lists the grids of the frame that is due. */
  async #list(): Promise<void> {
    const { place } = this.player;
    const grids = await this.volume.grids(place).catch(() => this.#grids);
    if (place !== this.player.place) return;
    this.#grids = grids;
    this.changed();
  }

  /** The frames that are decoded before they are due: as many as there is memory for. */
  #ahead(): number[] {
    if (!this.player.playing) return [];
    const each = this.shown.reduce((sum, own) => sum + own.bricks.atlas.bytes, 0);
    const room = each ? Math.floor(this.budget / each) - 1 : 1;
    return this.player.ahead(Math.max(1, Math.min(AHEAD, room)));
  }

  #begin(which: string, grid: GridInfo, place: number): void {
    const key = this.#key(which, grid, place);
    if (this.#loaders.has(key)) return;
    this.#failed.delete(key);
    const volume =
      which === "one" ? this.volume : which === "other" ? this.other! : this.difference!;
    const chosen = this.#drops;
    const begun = (async () => {
      const own = which === "other" ? samePlace(this.volume, place, this.other!) : place;
      const asked = which === "difference" ? { ...grid, components: 1 as const } : grid;
      const found = matching(asked, await volume.grids(own));
      if (!found) throw new Error(missing(volume, grid, own));
      const grids = this.glow && this.glow !== this.grid ? 2 : 1;
      const share = this.budget / (this.#sides.length * grids);
      const loader = await Loader.begin(
        this.renderer.gl,
        volume,
        found,
        own,
        share,
        this.marks && grid === this.grid,
        (middle, edge) => this.#wish(middle, edge, place),
        () => place === this.player.place && this.#arrived(loader),
      );
      if (chosen !== this.#drops) {
        loader.end(); // another grid was chosen meanwhile
        return loader;
      }
      this.#ready.set(key, loader);
      this.#arrived(loader);
      return loader;
    })();
    this.#loaders.set(key, begun);
    begun.catch((error: Error) => {
      if (chosen !== this.#drops) return;
      this.#loaders.delete(key);
      const isNeeded = grid === this.grid;
      this.#failed.set(key, isNeeded ? error : null);
      if (isNeeded && place === this.player.place) this.error = error.message;
      this.touch();
    });
  }

  #arrived(loader?: Loader): void {
    if (loader?.error) this.error = loader.error.message;
    this.#dirty = true;
    this.#gathered = 0;
    this.changed();
  }

  #wish(middle: Vector, edge: number, place: number): Wish {
    const distance = Math.max(this.camera.to(middle) - edge, this.camera.distance * 0.05);
    const voxel = edge / 128;
    const pixel = this.camera.pixel(distance, this.renderer.canvas.height || 1);
    // A frame that is not due yet waits behind the one that is.
    const late = (place - this.player.place + this.player.count) % this.player.count;
    return {
      level: Math.max(0, Math.floor(Math.log2(pixel / voxel))),
      urgency: -distance / this.camera.distance - 1e7 * late,
    };
  }

  /** Lets go of frames that nobody looks at, where the budget is used up: the oldest ones first. */
  #evict(wanted: number[]): void {
    let bytes = 0;
    for (const loader of this.#ready.values()) bytes += loader.bricks.atlas.bytes;
    for (const [key, loader] of this.#ready) {
      const isWanted = wanted.some((place) => key.endsWith(` ${place}`));
      if (isWanted || bytes <= this.budget) continue;
      bytes -= loader.bricks.atlas.bytes;
      loader.end();
      this.#ready.delete(key);
      this.#loaders.delete(key);
    }
  }

  #drop(): void {
    this.#drops++;
    this.volume.forget();
    this.other?.forget();
    for (const loader of this.#ready.values()) loader.end();
    this.#ready.clear();
    this.#loaders.clear();
    this.#failed.clear();
    this.error = "";
  }

  /** Marks active voxels, or does not. The atlas of each grid is another one then. */
  mark(marks: boolean): void {
    this.marks = marks;
    this.#drop();
    this.#load();
    this.touch(true);
  }

  /** Shows two files in another way. */
  compare(how: Comparison): void {
    const before = this.camera.reach(this.#aspect);
    this.comparison = how;
    this.camera.zoom(this.camera.reach(this.#aspect) / before);
    this.error = "";
    this.#load();
    this.touch(true);
  }

  // ---- Drawing ----

  #tick(now: number): void {
    if (this.still) return;
    const canvas = this.renderer.canvas;
    const ratio = Math.min(window.devicePixelRatio || 1, 2);
    const [width, height] = [
      Math.round(canvas.clientWidth * ratio),
      Math.round(canvas.clientHeight * ratio),
    ];
    if (width && height && (canvas.width !== width || canvas.height !== height)) {
      [canvas.width, canvas.height] = [width, height];
      this.touch(true); // more pixels may want finer regions
    }
    const isReady = (place: number) =>
      this.#keys(place).every((key) => {
        const loader = this.#ready.get(key);
        return this.#failed.has(key) || (!!loader && loader.bricks.level <= 3);
      });
    if (this.player.advance(now, isReady)) {
      this.#load();
      this.touch(true);
    }
    const took = now - this.#lastFrame;
    const moving = now - this.#moved < Math.max(200, 1.5 * took); // a slow picture is no rest
    // While regions arrive, whole pictures would only keep the next ones waiting.
    const rough = moving || this.shown.some((own) => !own.isDone);
    if (rough && this.#dirty) {
      if (took < 1000) {
        if (moving) this.rate = this.rate * 0.8 + (1000 / took) * 0.2;
        if (took > SLOW) this.#draft = Math.min(DRAFTS.length - 1, this.#draft + 1);
        else if (took < QUICK) this.#draft = Math.max(0, this.#draft - 1);
      }
    }
    this.#lastFrame = now;
    if (this.#dirty || this.#gathered < GATHERED) {
      if (this.#dirty) this.#gathered = this.#strip = 0;
      this.#dirty = false;
      if (rough) {
        this.#draw(DRAFTS[this.#draft]!);
        this.#gathered = 0;
      } else this.#drawStrip();
    }
    if (this.#rough && !rough) this.#dirty = true; // once more, with all pixels
    this.#rough = rough;
    requestAnimationFrame((next) => this.#tick(next));
  }

  /** Draws a part of a whole picture. A slow machine would not answer until all of it is there. */
  #drawStrip(): void {
    const strips = 1 << this.#draft;
    this.#draw(WHOLE, [this.#strip / strips, (this.#strip + 1) / strips]);
    this.#strip = (this.#strip + 1) % strips;
    if (this.#strip)
      this.#gathered--; // the picture is not done
    else this.changed();
  }

  /** @param part of each picture: shares of its width where it begins and ends */
  #draw({ scale, steps }: typeof WHOLE, part: [number, number] = [0, 1]): void {
    const { width, height } = this.renderer.canvas;
    const half = Math.floor(width / 2);
    const put = (
      picture: number,
      which: "one" | "other" | "difference",
      area: [number, number, number, number],
      clip: [number, number],
    ) => {
      const own: [number, number] = [Math.max(clip[0], part[0]), Math.min(clip[1], part[1])];
      if (own[0] >= own[1]) return;
      this.renderer.draw(
        picture,
        this.grid ? this.scene(which) : null,
        this.setting,
        this.camera.matrix(area[2] / area[3], this.grid ? this.#radius() : 1),
        area,
        own,
        scale,
        this.#gathered,
        this.#exact ? 0.5 : null,
        this.stepVoxels * steps,
      );
    };
    const whole: [number, number, number, number] = [0, 0, width, height];
    if (this.comparison === "side by side") {
      put(0, "one", [0, 0, half, height], [0, 1]);
      put(1, "other", [half, 0, width - half, height], [0, 1]);
    } else if (this.comparison === "wipe") {
      put(0, "one", whole, [0, this.wipe]);
      put(1, "other", whole, [this.wipe, 1]);
    } else put(0, this.comparison === "difference" ? "difference" : "one", whole, [0, 1]);
    this.#gathered++;
  }
}

function missing(volume: Volume, grid: GridInfo, place: number): string {
  const { frames } = volume.timeline;
  const where = frames.length > 1 ? ` in frame ${frames[place]!.number}` : "";
  return `${volume.name} has no grid ${grid.name}${where}`;
}

/** Widens the range of a grid: that of the file leaves out values that are kept exactly. */
function widen(grid: GridInfo, seen: [number, number]): void {
  const { minimum, maximum } = grid.ranges[0]!;
  const [low, high] = maximum > minimum ? [minimum, maximum] : seen;
  grid.ranges[0] = { minimum: Math.min(low, seen[0]), maximum: Math.max(high, seen[1]) };
}
