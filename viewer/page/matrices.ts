/** The little algebra that a camera takes. Matrices are column-major, as WebGL has them. */

export type Vector = [number, number, number];
export type Matrix = Float64Array;

export const add = (a: Vector, b: Vector): Vector => [a[0] + b[0], a[1] + b[1], a[2] + b[2]];
export const sub = (a: Vector, b: Vector): Vector => [a[0] - b[0], a[1] - b[1], a[2] - b[2]];
export const times = (a: Vector, s: number): Vector => [a[0] * s, a[1] * s, a[2] * s];
export const dot = (a: Vector, b: Vector): number => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
export const size = (a: Vector): number => Math.sqrt(dot(a, a));
export const unit = (a: Vector): Vector => times(a, 1 / (size(a) || 1));
export const cross = (a: Vector, b: Vector): Vector => [
  a[1] * b[2] - a[2] * b[1],
  a[2] * b[0] - a[0] * b[2],
  a[0] * b[1] - a[1] * b[0],
];

/** The product of two matrices: the second one is applied first. */
export function multiply(a: Matrix, b: Matrix): Matrix {
  const found = new Float64Array(16);
  for (let column = 0; column < 4; column++)
    for (let row = 0; row < 4; row++)
      for (let at = 0; at < 4; at++)
        found[4 * column + row]! += a[4 * at + row]! * b[4 * column + at]!;
  return found;
}

/** Applies a matrix to a point. */
export function transformed(m: Matrix, p: Vector): Vector {
  const row = (r: number) => m[r]! * p[0] + m[4 + r]! * p[1] + m[8 + r]! * p[2] + m[12 + r]!;
  const w = row(3);
  return [row(0) / w, row(1) / w, row(2) / w];
}

export function translation(by: Vector): Matrix {
  return Float64Array.of(1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, by[0], by[1], by[2], 1);
}

/** Undoes a matrix, by cofactors. Numbers are scaled first: voxels may be very small. */
export function inverse(m: Matrix): Matrix {
  const found = new Float64Array(16);
  const a = (row: number, column: number) => m[4 * column + row]!;
  let determinant = 0;
  const minor = (row: number, column: number) => {
    const rows = [0, 1, 2, 3].filter((own) => own !== row) as [number, number, number];
    const columns = [0, 1, 2, 3].filter((own) => own !== column) as [number, number, number];
    const at = (r: number, c: number) => a(rows[r]!, columns[c]!);
    return (
      at(0, 0) * (at(1, 1) * at(2, 2) - at(1, 2) * at(2, 1)) -
      at(0, 1) * (at(1, 0) * at(2, 2) - at(1, 2) * at(2, 0)) +
      at(0, 2) * (at(1, 0) * at(2, 1) - at(1, 1) * at(2, 0))
    );
  };
  for (let column = 0; column < 4; column++) {
    determinant += (column % 2 ? -1 : 1) * a(0, column) * minor(0, column);
    for (let row = 0; row < 4; row++)
      found[4 * row + column] = ((row + column) % 2 ? -1 : 1) * minor(row, column);
  }
  for (let at = 0; at < 16; at++) found[at]! /= determinant;
  return found;
}

/** Where an eye is and what it looks at, as a matrix from world space to the eye's. */
export function lookAt(eye: Vector, at: Vector, up: Vector): Matrix {
  const z = unit(sub(eye, at));
  const x = unit(cross(up, z));
  const y = cross(z, x);
  return Float64Array.of(
    x[0],
    y[0],
    z[0],
    0,
    x[1],
    y[1],
    z[1],
    0,
    x[2],
    y[2],
    z[2],
    0,
    -dot(x, eye),
    -dot(y, eye),
    -dot(z, eye),
    1,
  );
}

/** @param angle of view from top to bottom, in radians */
export function perspective(angle: number, aspect: number, near: number, far: number): Matrix {
  const f = 1 / Math.tan(angle / 2);
  const d = near - far;
  return Float64Array.of(
    f / aspect,
    0,
    0,
    0,
    0,
    f,
    0,
    0,
    0,
    0,
    (far + near) / d,
    -1,
    0,
    0,
    (2 * far * near) / d,
    0,
  );
}

/** From index space to world space. A file has it row by row, for rows [x y z 1]: that is the same. */
export function worldOf(grid: { matrix: readonly number[] }): Matrix {
  return Float64Array.from(grid.matrix);
}

/** The edges of a voxel in world space, along the axes of index space. */
export function voxelEdges({ matrix: m }: { matrix: readonly number[] }): number[] {
  return [0, 1, 2].map((row) => Math.hypot(m[4 * row]!, m[4 * row + 1]!, m[4 * row + 2]!));
}
