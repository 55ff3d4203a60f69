/** A camera that turns around a point. */

import {
  add,
  cross,
  lookAt,
  multiply,
  perspective,
  size,
  sub,
  times,
  unit,
  type Matrix,
  type Vector,
} from "./matrices.js";

const ANGLE = (35 * Math.PI) / 180; // of view, from top to bottom

export class Camera {
  target: Vector = [0, 0, 0];
  distance = 1;
  /** Angle around the axis that points up, and above the horizon, in radians. */
  turn = 0.6;
  rise = 0.25;
  /** The axis that points up: 1 for y, 2 for z. */
  up: 1 | 2 = 1;

  /** Shows a sphere as a whole, in a picture whose width is `aspect` times its height. */
  frame(middle: Vector, radius: number, aspect: number): void {
    this.target = middle;
    this.distance = 0.95 * radius * this.reach(aspect);
  }

  /** How many of its radii a sphere must be away in order to fill a picture. */
  reach(aspect: number): number {
    return 1 / Math.sin(Math.atan(Math.tan(ANGLE / 2) * Math.min(1, aspect || 1)));
  }

  get eye(): Vector {
    const flat = Math.cos(this.rise);
    const [a, b, c] = [flat * Math.sin(this.turn), Math.sin(this.rise), flat * Math.cos(this.turn)];
    return add(this.target, times(this.raised([a, b, c]), this.distance));
  }

  get upward(): Vector {
    return this.raised([0, 1, 0]);
  }

  /** A direction in world space, from what it would be if y pointed up. */
  raised([a, b, c]: Vector): Vector {
    return this.up === 1 ? [a, b, c] : [a, -c, b];
  }

  /** From world space to the screen. */
  matrix(aspect: number, radius: number): Matrix {
    const near = Math.max(this.distance - 2 * radius, this.distance * 1e-3);
    const far = this.distance + 2 * radius;
    return multiply(
      perspective(ANGLE, aspect, near, far),
      lookAt(this.eye, this.target, this.upward),
    );
  }

  /** The edge of a pixel in world space, at a distance. */
  pixel(distance: number, height: number): number {
    return (2 * distance * Math.tan(ANGLE / 2)) / height;
  }

  rotate(right: number, up: number): void {
    this.turn -= right;
    this.rise = Math.max(-1.55, Math.min(1.55, this.rise + up));
  }

  /** @param right, up in shares of the height of the screen */
  pan(right: number, up: number): void {
    const ahead = unit(sub(this.target, this.eye));
    const side = unit(cross(ahead, this.upward));
    const scale = 2 * this.distance * Math.tan(ANGLE / 2);
    this.target = add(
      this.target,
      add(times(side, -right * scale), times(cross(side, ahead), up * scale)),
    );
  }

  zoom(factor: number): void {
    this.distance *= factor;
  }

  /** How far a point lies from the eye. */
  to(point: Vector): number {
    return size(sub(point, this.eye));
  }
}
