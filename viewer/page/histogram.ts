/** How many active voxels have which values, counted at a coarse level. */

import { COARSEST, type GridInfo } from "../decoder/index.js";
import { widened } from "./looks.js";
import { scalarAt, type Volume } from "./volumes.js";

const BINS = 256;
const MOST_REGIONS = 64;

export interface Histogram {
  /** Where the bars begin and end. */
  low: number;
  high: number;
  /** The least and the largest value that was seen; null where none was. */
  seen: [number, number] | null;
  counts: number[];
  /** Whether all active voxels were looked at. */
  isWhole: boolean;
  /** Whether some of those that were looked at are NaN. */
  hasOdd: boolean;
  /** Values below which 1 % and 99 % of the voxels lie. */
  spread: [number, number];
}

/**
 * Counts values; of vectors their lengths.
 *
 * Every 4th voxel along each axis is looked at, or every 16th; where none of them is active, all of
 * some regions.
 */
export async function histogramOf(
  volume: Volume,
  grid: GridInfo,
  place: number,
  urgency = 1e9,
): Promise<Histogram> {
  const { corners, tiles } = await volume.skeleton(grid, place);
  const regions = corners.length / 3;
  const values: number[] = [];
  let isWhole = false;
  let hasOdd = false;
  const look = async (level: number, most: number) => {
    const every = Math.max(1, Math.ceil(regions / most));
    isWhole = level === 0 && every === 1;
    const wanted = Array.from({ length: regions }, (_, at) => at).filter((at) => at % every === 0);
    await Promise.all(
      wanted.map(async (at) => {
        const corner = corners.subarray(3 * at, 3 * at + 3);
        const block = await volume.block(grid, corner, level, place, urgency);
        for (let voxel = 0; voxel < block.active.length; voxel++) {
          if (!block.active[voxel]) continue;
          const own = scalarAt(block.values, voxel, grid.components);
          if (Number.isFinite(own)) values.push(own);
          else hasOdd ||= Number.isNaN(own);
        }
      }),
    );
  };
  await look(Math.min(COARSEST, regions > MOST_REGIONS ? 4 : 2), 4 * MOST_REGIONS);
  if (!values.length || values.every((own) => own === 0)) {
    values.length = 0;
    await look(0, MOST_REGIONS / 4);
  }
  for (const tile of tiles) {
    const own = scalarAt(Float32Array.from(tile.values), 0, grid.components);
    if (tile.active && Number.isFinite(own)) values.push(own);
  }
  const sorted = Float32Array.from(values).sort();
  if (!sorted.length) {
    const { minimum, maximum } = grid.ranges[0]!;
    const [low, high] = widened(minimum, maximum);
    const counts = new Array<number>(BINS).fill(0);
    return { low, high, seen: null, counts, isWhole, hasOdd, spread: [0, 0] };
  }
  const at = (share: number) =>
    sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))]!;
  const seen: [number, number] = [sorted[0]!, sorted[sorted.length - 1]!];
  const [low, high] = widened(...seen);
  const counts = new Array<number>(BINS).fill(0);
  for (const own of sorted)
    counts[Math.min(BINS - 1, Math.floor((BINS * (own - low)) / (high - low)))]!++;
  return { low, high, seen, counts, isWhole, hasOdd, spread: [at(0.01), at(0.99)] };
}

/** Draws it as bars whose heights are logarithms, with the window over it. */
export function drawHistogram(
  canvas: HTMLCanvasElement,
  own: Histogram,
  window: [number, number],
): void {
  const context = canvas.getContext("2d")!;
  const { width, height } = canvas;
  context.clearRect(0, 0, width, height);
  const most = Math.log1p(Math.max(...own.counts));
  const x = (value: number) => (width * (value - own.low)) / (own.high - own.low || 1);
  context.fillStyle = "rgba(120,170,255,0.18)";
  context.fillRect(x(window[0]), 0, Math.max(1, x(window[1]) - x(window[0])), height);
  context.fillStyle = "#9ab";
  own.counts.forEach((count, bin) => {
    const tall = most ? (height * Math.log1p(count)) / most : 0;
    context.fillRect((bin * width) / BINS, height - tall, width / BINS + 0.5, tall);
  });
}

/**
 * A value for people.
 *
 * @param span of the values that it must be told from; without it, four digits are shown
 */
export function short(value: number, span = Math.abs(value)): string {
  const digits = 4 + Math.floor(Math.log10(Math.max(1, Math.abs(value) / (span || 1))));
  return String(Number(value.toPrecision(Math.min(9, digits))));
}
