/** How a grid is shown before anybody has said so: by its class, its name and its values. */

import type { GridInfo } from "../decoder/index.js";

export type Mode = "fog" | "surface" | "window" | "maximum";
export const MODES: Mode[] = ["fog", "surface", "window", "maximum"];

/** Maps of colours: all but the last two are even in lightness, and can be told by colour-blind eyes. */
export const MAPS = ["gray", "viridis", "cividis", "inferno", "blue to red", "black body"] as const;
export type MapName = (typeof MAPS)[number];

/** All that a user can set of a grid. */
export interface Look {
  mode: Mode;
  map: MapName;
  /** Values, in the grid's units, that the ends of the colour map stand for. */
  window: [number, number];
  /** The value that lets all light through in a window; opacity grows with the distance from it. */
  clear: number;
  /** How many times the extent of the volume the light is halved, for the largest value. */
  density: number;
  isovalue: number;
  /** Exponent of the opacity over the window: high ones let through what is low. */
  curve: number;
}

const HOT = /temp|heat|flame|fire|burn|fuel|emission/i;
const FEWEST = 4096; // voxels of a scan
const FLAME = /flame|fire/i;
const THICK = /density|smoke|fog|cloud|soot/i;

/** Whether a grid is one of light that is sent out, as of a flame. */
export function isHot(grid: GridInfo): boolean {
  return grid.components === 1 && HOT.test(grid.name);
}

/** The grid that is looked at first; null where none has values. */
export function firstGrid(grids: GridInfo[]): GridInfo | null {
  const shown = grids.filter((grid) => !grid.passthrough && grid.activeVoxels > 0);
  return (
    shown.find((grid) => THICK.test(grid.name) && grid.components === 1) ??
    shown.find((grid) => grid.gridClass === "level set") ??
    shown.find((grid) => grid.gridClass === "fog volume" && !isHot(grid)) ??
    shown.find((grid) => !isHot(grid)) ??
    shown.find((grid) => FLAME.test(grid.name)) ??
    shown[0] ??
    null
  );
}

/** The grid whose light is added: a hot one in the same space, or the grid itself. */
export function glowOf(grid: GridInfo, grids: GridInfo[]): GridInfo | null {
  if (isHot(grid)) return grid;
  if (grid.components !== 1 || !isThick(grid)) return null;
  const hot = grids.filter((own) => isHot(own) && !own.passthrough && own.activeVoxels > 0);
  return hot.find((own) => FLAME.test(own.name)) ?? hot[0] ?? null;
}

function isThick(grid: GridInfo): boolean {
  return grid.gridClass === "fog volume" || THICK.test(grid.name);
}

/** The value of air that is not hot, from which the light of a black body is counted. */
export function coldOf(grid: GridInfo): number {
  const background = grid.background[0]!;
  return background > 0 && background < grid.ranges[0]!.maximum ? background : 0;
}

const AMBIENT: [number, number] = [200, 500]; // kelvin

/**
 * The values between which a grid glows as a black body of 0 to 2200 kelvin does.
 *
 * Where the air is as warm as air is in kelvin, values are taken as kelvin.
 */
export function glowWindow(grid: GridInfo, hottest: number): [number, number] {
  const cold = coldOf(grid);
  return cold > AMBIENT[0] && cold < AMBIENT[1] ? [0, HOTTEST] : [cold, hottest];
}

/** Whether every voxel of the box is active, as in a scan. */
export function isDense(grid: GridInfo): boolean {
  if (!grid.box) return false;
  const { lower, upper } = grid.box;
  const voxels = lower.reduce((product, low, axis) => product * (upper[axis]! - low + 1), 1);
  return voxels >= FEWEST && grid.activeVoxels >= 0.999 * voxels;
}

/**
 * The look of a grid.
 *
 * @param spread the values below which 1 % and 99 % of the active voxels lie
 */
export function lookOf(grid: GridInfo, spread: [number, number]): Look {
  const most = Math.max(...grid.ranges.map((own) => Math.abs(own.maximum)), 1e-37);
  const look: Look = {
    mode: "fog",
    map: "gray",
    window: [0, most],
    clear: 0,
    density: 8,
    isovalue: 0.5 * most,
    curve: 1,
  };
  if (grid.components === 3) {
    const ends = grid.ranges.map((own) => Math.max(Math.abs(own.minimum), Math.abs(own.maximum)));
    return {
      ...look,
      mode: "window",
      map: "viridis",
      window: [0, spread[1] || Math.hypot(...ends)],
      density: 6,
    };
  }
  const background = Number.isFinite(grid.background[0]) ? grid.background[0]! : 0;
  if (grid.gridClass === "level set")
    return {
      ...look,
      mode: "surface",
      map: "blue to red",
      window: background > 0 ? [-background, background] : look.window,
      isovalue: 0,
      clear: background,
    };
  if (isHot(grid)) {
    const cold = coldOf(grid);
    const window: [number, number] = [cold, spread[1] > cold ? spread[1] : look.window[1]];
    return { ...look, map: "black body", window, clear: window[0], density: 1 };
  }
  if (isThick(grid) && !(grid.ranges[0]!.maximum < 0)) {
    const top = spread[1] > spread[0] ? spread[1] : most;
    return { ...look, window: [0, top], isovalue: 0.2 * top };
  }
  const { minimum, maximum } = grid.ranges[0]!;
  const [low, high] = spread[1] > spread[0] ? spread : widened(minimum, maximum);
  const shown: Look = {
    ...look,
    mode: "window",
    window: [low, high],
    isovalue: 0.5 * (low + high),
  };
  // The air around what was scanned is let through.
  if (isDense(grid)) return { ...shown, map: "gray", clear: low, density: 12, curve: 2 };
  const some = 0.05 * (high - low);
  if (background > low + some && background < high - some) {
    const reach = Math.max(high - background, background - low);
    const window: [number, number] = [background - reach, background + reach];
    return { ...shown, map: "blue to red", window, clear: background, density: 6 };
  }
  return { ...shown, map: "cividis", clear: background >= high - some ? high : low, density: 6 };
}

/** Two ends that differ: a single value lies in their middle. */
export function widened(low: number, high: number): [number, number] {
  if (high > low) return [low, high];
  const reach = Math.abs(low) || 1;
  return [low - reach, low + reach];
}

/** Colours of a map at five to nine places: red, green and blue of a display, 0 to 255. */
const STOPS: Record<Exclude<MapName, "black body">, number[][]> = {
  gray: [
    [0, 0, 0],
    [255, 255, 255],
  ],
  viridis: [
    [68, 1, 84],
    [72, 40, 120],
    [62, 74, 137],
    [49, 104, 142],
    [38, 130, 142],
    [31, 158, 137],
    [53, 183, 121],
    [110, 206, 88],
    [181, 222, 43],
    [253, 231, 37],
  ],
  cividis: [
    [0, 34, 78],
    [18, 53, 112],
    [59, 73, 108],
    [87, 93, 109],
    [112, 113, 115],
    [138, 134, 120],
    [165, 156, 116],
    [195, 179, 105],
    [225, 204, 85],
    [254, 232, 56],
  ],
  inferno: [
    [0, 0, 4],
    [27, 12, 65],
    [74, 12, 107],
    [120, 28, 109],
    [165, 44, 96],
    [207, 68, 70],
    [237, 105, 37],
    [251, 155, 6],
    [247, 209, 61],
    [252, 255, 164],
  ],
  "blue to red": [
    [33, 102, 172],
    [103, 169, 207],
    [209, 229, 240],
    [247, 247, 247],
    [253, 219, 199],
    [239, 138, 98],
    [178, 24, 43],
  ],
};

const COLORS = 256;
const HOTTEST = 2200; // kelvin, of the upper end of the map of a black body

/** Where in its window a look lets all light through, 0 to 1. */
export function clearOf({ window, clear }: Look): number {
  return Math.min(1, Math.max(0, (clear - window[0]) / (window[1] - window[0] || 1)));
}

/**
 * A map as 256 linear colours with their opacity: red, green, blue, opacity each.
 *
 * @param clear the place that lets all light through, 0 to 1
 */
export function colorsOf(map: MapName, curve = 1, clear = 0): Float32Array {
  const found = new Float32Array(4 * COLORS);
  for (let at = 0; at < COLORS; at++) {
    const place = at / (COLORS - 1);
    const color = map === "black body" ? glowing(place * HOTTEST) : stop(STOPS[map], place);
    found.set([...color, (Math.abs(place - clear) / Math.max(clear, 1 - clear)) ** curve], 4 * at);
  }
  return found;
}

/** A colour of a map for a display, as for a slice. */
export function displayColor(map: MapName, place: number): [number, number, number] {
  const held = Math.min(1, Math.max(0, place));
  const linear = map === "black body" ? glowing(held * HOTTEST) : stop(STOPS[map], held);
  return linear.map((own) => Math.round(255 * display(Math.min(own, 1)))) as [
    number,
    number,
    number,
  ];
}

function stop(stops: number[][], place: number): number[] {
  const at = place * (stops.length - 1);
  const low = Math.min(Math.floor(at), stops.length - 2);
  return [0, 1, 2].map((own) => {
    const [a, b] = [stops[low]![own]!, stops[low + 1]![own]!];
    return linear((a + (b - a) * (at - low)) / 255);
  });
}

/**
 * The light of a black body, linear in the colours of a display, as a share of that of the hottest.
 *
 * Planck's law at 610, 550 and 465 nm, which stand for red, green and blue.
 */
function glowing(kelvin: number): number[] {
  if (kelvin < 300) return [0, 0, 0];
  const planck = (metres: number, heat: number) =>
    metres ** -5 / (Math.exp(0.014387769 / (metres * heat)) - 1);
  const most = planck(610e-9, HOTTEST);
  return [610e-9, 550e-9, 465e-9].map(
    (metres, own) => (planck(metres, kelvin) / most) * [1, 1, 1.15][own]!,
  );
}

const linear = (own: number) => (own <= 0.04045 ? own / 12.92 : ((own + 0.055) / 1.055) ** 2.4);
const display = (own: number) =>
  own <= 0.0031308 ? own * 12.92 : 1.055 * own ** (1 / 2.4) - 0.055;
