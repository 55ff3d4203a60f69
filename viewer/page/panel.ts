/** The controls: beside the picture, and under it. */

import type { App, Comparison } from "./app.js";
import { drawHistogram, short } from "./histogram.js";
import { MAPS, MODES, type Mode } from "./looks.js";
import { Slices, type Voxels } from "./slices.js";

/** What the server knows of a grid besides what the file's decoder tells. */
export interface Promised {
  /** Sentences about the error in the frame that is shown first, by the positions of grids. */
  [position: number]: string;
}

type Child = Node | string;

/** A control of a number. */
interface Slider {
  title: string;
  ends: [number, number];
  get: () => number;
  set: (own: number) => void;
  /** What stands beside it. */
  text: () => string;
  /** Whether it does anything now; without it, always. */
  when?: () => boolean;
  into?: HTMLElement;
}

function make<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Record<string, string> = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const found = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) found.setAttribute(name, value);
  found.append(...children);
  return found;
}

export class Panel {
  readonly #app: App;
  readonly #promised: Promised;
  readonly #side = make("aside", { "aria-label": "Settings" });
  readonly #status = make("output", { class: "status" });
  readonly #cursor = make("output", { class: "cursor" });
  readonly #message = make("p", { class: "message", role: "alert", hidden: "" });
  /** The names of two files, where both are seen. */
  readonly #sides = ["left", "right"].map((own) => make("span", { class: `side ${own}` }));
  readonly #wipe = make("div", { class: "wipe", hidden: "", title: "Drag to compare" });
  readonly #slices: Slices;
  readonly #refreshes: (() => void)[] = [];
  #held: { key: string; voxels: Promise<Voxels> } | null = null;

  constructor(app: App, root: HTMLElement, promised: Promised) {
    this.#app = app;
    this.#promised = promised;
    this.#slices = new Slices((line) => (this.#cursor.textContent = line));
    const hide = make("button", { type: "button", class: "hide", title: "Show or hide settings" });
    hide.textContent = "☰";
    hide.onclick = () => void document.body.classList.toggle("bare");
    const stage = make(
      "main",
      {},
      app.renderer.canvas,
      this.#wipe,
      ...this.#sides,
      hide,
      this.#message,
      this.#status,
      this.#cursor,
    );
    const bottom = make("footer");
    root.append(stage, this.#side, bottom);
    this.#build();
    if (app.player.count > 1) this.#timeline(bottom);
    else bottom.hidden = true;
    this.#pointer(app.renderer.canvas);
    this.#dragWipe(stage);
    addEventListener("keydown", (event) => this.#key(event));
    app.changed = () => this.#soon();
    this.#soon();
  }

  /** The picture of slices, for tests. */
  get slices(): Slices {
    return this.#slices;
  }

  #queued = false;
  #soon(): void {
    if (this.#queued) return;
    this.#queued = true;
    requestAnimationFrame(() => {
      this.#queued = false;
      this.refresh();
    });
  }

  /** Shows what the app has become. */
  refresh(): void {
    for (const refresh of this.#refreshes) refresh();
    const { player, error } = this.#app;
    const loaders = this.#app.shown;
    const levels = loaders.map((own) => own.bricks.level);
    const parts = [];
    if (loaders.length) {
      const done = loaders.reduce((sum, own) => sum + own.share, 0) / loaders.length;
      const isEnough = loaders.every((own) => own.isDone && !own.remark);
      parts.push(
        levels.some((own) => own > 6)
          ? "loading"
          : done < 1 && isEnough
            ? "as fine as the screen shows: more when nearer"
            : done < 1
              ? `level ${Math.max(...levels)}, ${Math.round(100 * done)} % refined`
              : counted(loaders[0]!.grid.activeVoxels, "active voxel"),
      );
      parts.push(...new Set(loaders.flatMap((own) => own.remark || [])));
      if (this.#app.remark) parts.push(this.#app.remark);
      if (this.#app.isDrawing) parts.push("drawing");
    }
    if (this.#app.rate >= 0.5) parts.push(`${counted(Math.round(this.#app.rate), "picture")}/s`);
    if (player.dropped) parts.push(`${counted(player.dropped, "frame")} dropped`);
    this.#status.textContent = parts.join(" · ");
    this.#message.hidden = !error;
    this.#message.textContent = error;
    this.#wipe.hidden = this.#app.comparison !== "wipe";
    const areBoth = this.#app.comparison === "wipe" || this.#app.comparison === "side by side";
    this.#sides.forEach((side, at) => {
      side.hidden = !areBoth;
      side.textContent = [this.#app.volume, this.#app.other][at]?.name ?? "";
    });
    this.#wipe.style.left = `${100 * this.#app.wipe}%`;
  }

  fail(message: string): void {
    this.#app.error = message;
    this.refresh();
  }

  #voxels(): Promise<Voxels> {
    const key = `${this.#app.grid!.position} ${this.#app.player.place}`;
    if (this.#held?.key !== key) this.#held = { key, voxels: this.#app.voxels() };
    return this.#held.voxels;
  }

  #build(): void {
    const app = this.#app;
    const side = this.#side;
    side.append(make("h1", { title: app.volume.name }, app.volume.name));

    const grids = make("select", { id: "grid" });
    grids.onchange = () =>
      void app
        .choose(app.grids[Number(grids.value)]!)
        .catch((error: Error) => this.fail(error.message));
    const about = make("p", { class: "about" });
    let listed = "";
    side.append(make("label", { for: "grid" }, "Grid"), grids, about);
    this.#refreshes.push(() => {
      const names = JSON.stringify(app.grids.map((own) => [own.name, own.type, own.activeVoxels]));
      if (names !== listed) {
        listed = names;
        grids.replaceChildren(
          ...app.grids.map((grid, at) => {
            const option = make(
              "option",
              { value: String(at) },
              `${grid.name || "(no name)"} (${grid.type})`,
            );
            option.disabled = grid.passthrough || !grid.activeVoxels;
            return option;
          }),
        );
      }
      const grid = app.shownGrid;
      if (!grid) return;
      grids.value = String(app.grids.findIndex((own) => own.position === grid.position));
      const box = grid.box
        ? grid.box.upper.map((own, axis) => own - grid.box!.lower[axis]! + 1).join(" × ")
        : "no voxels";
      const range = grid.ranges
        .filter(({ minimum, maximum }) => maximum > minimum) // of exact values it is not told
        .map(({ minimum, maximum }) =>
          [minimum, maximum].map((own) => short(own, maximum - minimum)).join(" to "),
        )
        .join("; ");
      const worst =
        app.comparison === "difference"
          ? app.difference?.worst(grid.position, app.player.place)
          : undefined;
      about.textContent = [
        [grid.gridClass, box, range].filter(Boolean).join(", "),
        app.isFirst ? (this.#promised[grid.position] ?? "") : "",
        worst === undefined ? "" : `Largest difference seen: ${short(worst)}`,
      ]
        .filter(Boolean)
        .join(". ");
    });

    const is =
      (...modes: Mode[]) =>
      () =>
        !app.look || modes.includes(app.look.mode);
    this.#choice(
      "Show as",
      [...MODES],
      () => app.look?.mode,
      (mode) => (app.look!.mode = mode),
    );
    this.#choice(
      "Colours",
      [...MAPS],
      () => app.look?.map,
      (map) => (app.look!.map = map),
      is("window", "maximum"),
    );
    const histogram = make("canvas", {
      width: "256",
      height: "48",
      "aria-label": "Histogram of the values",
    });
    side.append(histogram);
    this.#refreshes.push(() => {
      if (app.histogram && app.look) drawHistogram(histogram, app.histogram, app.look.window);
    });
    const ends = () => app.histogram ?? { low: 0, high: 1 };
    const share = (value: number) => (value - ends().low) / (ends().high - ends().low || 1);
    const span = () => ends().high - ends().low;
    const value = (part: number) => ends().low + part * (ends().high - ends().low);
    this.#slider({
      title: "From",
      ends: [-0.25, 1.25],
      get: () => share(app.look?.window[0] ?? 0),
      set: (own) => (app.look!.window[0] = value(own)),
      text: () => short(app.look?.window[0] ?? 0, span()),
      when: is("fog", "window", "maximum"),
    });
    this.#slider({
      title: "To",
      ends: [-0.25, 1.25],
      get: () => share(app.look?.window[1] ?? 1),
      set: (own) => (app.look!.window[1] = value(own)),
      text: () => short(app.look?.window[1] ?? 0, span()),
      when: is("fog", "window", "maximum"),
    });
    this.#slider({
      title: "Surface at",
      ends: [0, 1],
      get: () => share(app.look?.isovalue ?? 0),
      set: (own) => (app.look!.isovalue = value(own)),
      text: () => short(app.look?.isovalue ?? 0, span()),
      when: is("surface"),
    });
    this.#slider({
      title: "Thickness",
      ends: [-2, 8],
      get: () => Math.log2(app.look?.density ?? 1),
      set: (own) => (app.look!.density = 2 ** own),
      text: () => short(app.look?.density ?? 0),
      when: is("fog", "window"),
    });
    this.#slider({
      title: "Opacity curve",
      ends: [-2, 3],
      get: () => Math.log2(app.look?.curve ?? 1),
      set: (own) => (app.look!.curve = 2 ** own),
      text: () => short(app.look?.curve ?? 1),
      when: is("window"),
    });
    this.#slider({
      title: "Glow",
      ends: [-2, 9],
      get: () => Math.log2(app.glowStrength),
      set: (own) => (app.glowStrength = 2 ** own),
      text: () => app.glow?.name ?? "",
      when: () => is("fog")() && app.glow !== null,
    });
    this.#slider({
      title: "Exposure",
      ends: [-3, 3],
      get: () => Math.log2(app.exposure),
      set: (own) => (app.exposure = 2 ** own),
      text: () => short(app.exposure),
      when: is("fog", "surface"),
    });
    this.#slider({
      title: "Light",
      ends: [0, 360],
      get: () => (app.light * 180) / Math.PI,
      set: (own) => (app.light = (own * Math.PI) / 180),
      text: () => `${Math.round((app.light * 180) / Math.PI)}°`,
      when: is("fog", "surface"),
    });
    this.#choice(
      "Background",
      ["dark", "light", "black"] as const,
      () => app.backdrop,
      (own) => (app.backdrop = own),
    );
    if (app.other)
      this.#choice(
        "Compare",
        ["one", "side by side", "wipe", "difference"] as const,
        () => app.comparison,
        (own: Comparison) => app.compare(own),
      );

    const marks = make("input", { type: "checkbox", id: "marks" });
    marks.onchange = () => app.mark(marks.checked);
    this.#refreshes.push(() => (marks.checked = app.marks));
    side.append(make("label", { for: "marks" }, marks, " Mark active voxels"));

    const clip = make("details", {}, make("summary", {}, "Clipping"));
    side.append(clip);
    for (const axis of [0, 1, 2] as const)
      for (const end of [0, 1] as const)
        this.#slider({
          title: `${"xyz"[axis]} ${end ? "to" : "from"}`,
          ends: [0, 1],
          get: () => app.clip[end][axis],
          set: (own) => {
            app.clip[end][axis] = end
              ? Math.max(own, app.clip[0][axis] + 0.01)
              : Math.min(own, app.clip[1][axis] - 0.01);
          },
          text: () => `${Math.round(100 * app.clip[end][axis])} %`,
          into: clip,
        });

    const slices = make("details", {}, make("summary", {}, "Slices"), this.#slices.element);
    slices.ontoggle = () => void this.#showSlices(slices);
    this.#refreshes.push(() => void this.#showSlices(slices));
    side.append(slices);
    const save = make("button", { type: "button" }, "Save picture");
    save.onclick = () => {
      app.drawWhole();
      const link = make("a", {
        href: app.renderer.canvas.toDataURL("image/png"),
        download: `${app.volume.name}.png`,
      });
      link.click();
    };
    const help = make(
      "details",
      {},
      make("summary", {}, "Keys"),
      make(
        "p",
        {},
        "Arrows turn, + and - come nearer and go away, Shift with arrows moves, space plays, , and . step through frames, " +
          "F shows all, U changes which axis points up, G takes the next grid, H hides this panel. " +
          "Drag turns, right button or two fingers move, wheel or pinch zooms.",
      ),
    );
    side.append(save, help);
  }

  #drawn = "";
  async #showSlices(details: HTMLDetailsElement): Promise<void> {
    const { grid, look, player } = this.#app;
    if (!details.open || !grid || !look) return;
    const key = JSON.stringify([grid.position, player.place, look, this.#app.marks]);
    if (key === this.#drawn) return;
    this.#drawn = key;
    try {
      const voxels = await this.#voxels();
      if (key === this.#drawn) await this.#slices.show(voxels, look, this.#app.marks);
    } catch (error) {
      this.fail((error as Error).message);
    }
  }

  #choice<T extends string>(
    title: string,
    of: readonly T[],
    get: () => T | undefined,
    set: (own: T) => void,
    when: () => boolean = () => true,
  ): void {
    const id = `choice-${title.replaceAll(" ", "-")}`;
    const select = make("select", { id }, ...of.map((own) => make("option", { value: own }, own)));
    select.onchange = () => {
      if (!this.#app.look) return;
      set(select.value as T);
      this.#app.touch(true);
    };
    const label = make("label", { for: id }, title);
    this.#refreshes.push(() => {
      select.value = get() ?? of[0]!;
      label.hidden = select.hidden = !when();
    });
    this.#side.append(label, select);
  }

  #slider({ title, ends, get, set, text, when, into }: Slider): void {
    const id = `slider-${title.replaceAll(" ", "-")}`;
    const slider = make("input", {
      type: "range",
      id,
      min: String(ends[0]),
      max: String(ends[1]),
      step: String((ends[1] - ends[0]) / 400),
    });
    const shown = make("span", { class: "value" });
    slider.oninput = () => {
      if (!this.#app.look) return;
      set(Number(slider.value));
      this.#app.touch(true);
    };
    const label = make("label", { for: id }, title, shown);
    this.#refreshes.push(() => {
      if (!slider.matches(":active")) slider.value = String(get());
      shown.textContent = text();
      label.hidden = slider.hidden = !(when?.() ?? true);
    });
    (into ?? this.#side).append(label, slider);
  }

  #timeline(bottom: HTMLElement): void {
    const { player, volume } = this.#app;
    const play = make("button", { type: "button", "aria-label": "Play" });
    play.onclick = () => this.#play();
    const slider = make("input", {
      type: "range",
      min: "0",
      max: String(player.count - 1),
      step: "1",
      "aria-label": "Frame",
    });
    slider.oninput = () => this.#app.go(Number(slider.value));
    const label = make("output");
    bottom.append(play, slider, label);
    this.#refreshes.push(() => {
      play.textContent = player.playing ? "❚❚" : "▶";
      slider.value = String(player.place);
      const frame = volume.timeline.frames[player.place]!;
      const time =
        frame.time === null ? "" : `, ${short(frame.time)} ${volume.timeline.unit || "s"}`;
      label.textContent = `frame ${frame.number}${time} · ${short(player.rate)} a second`;
    });
  }

  #play(): void {
    const { player } = this.#app;
    if (player.playing) player.playing = false;
    else player.play(performance.now());
    this.#app.go(player.place);
  }

  #pointer(canvas: HTMLCanvasElement): void {
    const { camera } = this.#app;
    const held = new Map<number, { x: number; y: number; moves: boolean }>();
    canvas.tabIndex = 0;
    canvas.setAttribute("aria-label", "The volume. Arrows turn it.");
    canvas.oncontextmenu = (event) => event.preventDefault();
    canvas.onpointerdown = (event) => {
      canvas.setPointerCapture(event.pointerId);
      held.set(event.pointerId, {
        x: event.clientX,
        y: event.clientY,
        moves: event.button > 0 || event.shiftKey,
      });
    };
    canvas.onpointerup = canvas.onpointercancel = (event) => void held.delete(event.pointerId);
    canvas.onpointermove = (event) => {
      const own = held.get(event.pointerId);
      if (!own) return;
      const [dx, dy] = [event.clientX - own.x, event.clientY - own.y];
      if (held.size === 2) {
        const other = [...held].find(([id]) => id !== event.pointerId)![1];
        const before = Math.hypot(own.x - other.x, own.y - other.y);
        const after = Math.hypot(event.clientX - other.x, event.clientY - other.y);
        if (before > 0 && after > 0) camera.zoom(before / after);
        camera.pan(dx / 2 / canvas.clientHeight, dy / 2 / canvas.clientHeight);
      } else if (own.moves) camera.pan(dx / canvas.clientHeight, dy / canvas.clientHeight);
      else camera.rotate(dx * 0.008, dy * 0.008);
      Object.assign(own, { x: event.clientX, y: event.clientY });
      this.#app.touch(true);
    };
    canvas.onwheel = (event) => {
      event.preventDefault();
      camera.zoom(Math.exp(event.deltaY * 0.0012));
      this.#app.touch(true);
    };
  }

  #dragWipe(stage: HTMLElement): void {
    this.#wipe.onpointerdown = (event) => this.#wipe.setPointerCapture(event.pointerId);
    this.#wipe.onpointermove = (event) => {
      if (!this.#wipe.hasPointerCapture(event.pointerId)) return;
      const area = stage.getBoundingClientRect();
      this.#app.wipe = Math.min(1, Math.max(0, (event.clientX - area.left) / area.width));
      this.#app.touch(true);
    };
  }

  #key(event: KeyboardEvent): void {
    // The browser's own keys stay its own, and a control keeps those that it takes.
    const control = (event.target as HTMLElement).closest?.("input, select, button, summary");
    const isSlider = control instanceof HTMLInputElement && control.type === "range";
    const taken = isSlider ? /^Arrow/ : control?.matches("select") ? /./ : control ? /^ $/ : /^$/;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (event.ctrlKey || event.metaKey || event.altKey || taken.test(key)) return;
    const app = this.#app;
    const { camera, player } = app;
    const turn = 0.08;
    const arrows: Record<string, [number, number]> = {
      ArrowLeft: [-1, 0],
      ArrowRight: [1, 0],
      ArrowUp: [0, 1],
      ArrowDown: [0, -1],
    };
    const arrow = arrows[key];
    if (arrow) {
      if (event.shiftKey) camera.pan(-arrow[0] * 0.04, arrow[1] * 0.04);
      else camera.rotate(arrow[0] * turn, arrow[1] * turn);
    } else if (key === "+" || key === "=") camera.zoom(0.9);
    else if (key === "-") camera.zoom(1 / 0.9);
    else if (key === " ") this.#play();
    else if (key === ",") app.go(player.place - 1);
    else if (key === ".") app.go(player.place + 1);
    else if (key === "f") app.reframe();
    else if (key === "u") camera.up = camera.up === 1 ? 2 : 1;
    else if (key === "h") document.body.classList.toggle("bare");
    else if (key === "g") {
      const shown = app.grids.filter((own) => !own.passthrough && own.activeVoxels);
      const at = shown.findIndex((own) => own.position === app.grid?.position);
      if (shown.length) void app.choose(shown[(at + 1) % shown.length]!);
    } else return;
    event.preventDefault();
    app.touch(true);
  }
}

function counted(count: number, what: string): string {
  return `${count.toLocaleString("en")} ${what}${count === 1 ? "" : "s"}`;
}
