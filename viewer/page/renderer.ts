/** Draws bricks on a canvas by WebGL2: marches rays, gathers pictures while nothing moves. */

import type { Bricks } from "./bricks.js";
import lightShader from "./light.glsl";
import lookShader from "./look.glsl";
import { MODES, clearOf, colorsOf, type Look } from "./looks.js";
import marchShader from "./march.glsl";
import {
  add,
  inverse,
  multiply,
  sub,
  times,
  translation,
  type Matrix,
  type Vector,
  worldOf,
} from "./matrices.js";
import presentShader from "./present.glsl";
import { textureOf } from "./textures.js";

/** What is drawn. */
export interface Scene {
  bricks: Bricks;
  look: Look;
  glow: { bricks: Bricks; window: [number, number]; strength: number } | null;
  /** Box in index space that is shown, after clipping. */
  part: [Vector, Vector];
  /** The box in world space around it. */
  lower: Vector;
  upper: Vector;
  /** World units. */
  voxel: number;
  extent: number;
  /** Whether a shell around the active voxels is drawn. */
  marks: boolean;
  /** Whether it changes from moment to moment. */
  loading: boolean;
}

/** What of the scene every picture has. */
export interface Setting {
  toLight: Vector;
  upward: Vector;
  exposure: number;
  backdrop: Backdrop;
}

interface Light {
  texture: WebGLTexture;
  size: Vector;
  /** What it was computed for, and when. */
  key: string;
  time: number;
}

export type Backdrop = "dark" | "light" | "black";

const VERTEX = `#version 300 es
out vec2 at;
void main() {
    at = vec2(gl_VertexID & 1, gl_VertexID >> 1) * 2.0;
    gl_Position = vec4(at * 2.0 - 1.0, 0.0, 1.0);
}`;
const BACKDROPS: Record<Backdrop, [Vector, Vector]> = {
  dark: [
    [0.035, 0.04, 0.05],
    [0.008, 0.009, 0.012],
  ],
  light: [
    [0.82, 0.85, 0.9],
    [0.62, 0.65, 0.7],
  ],
  black: [
    [0, 0, 0],
    [0, 0, 0],
  ],
};
const COLD = 0.35; // share of the hottest below which a black body cannot be seen
const LIGHT_PAUSE = 1000; // milliseconds
const LIGHT_EDGE = 64; // of the light volume along the longest side of the box
const LIGHT: Vector = [2.1, 2.02, 1.9];
const AMBIENT: Vector = [0.2, 0.23, 0.29];
const ALBEDO: Vector = [0.92, 0.92, 0.92];
const SOOT: Vector = [0.3, 0.29, 0.28]; // the smoke of what glows is darker
/** Pictures that are averaged at rest: what steps and pixels miss is smoothed out. */
export const GATHERED = 8;

export class Renderer {
  readonly gl: WebGL2RenderingContext;
  /** Programs that march, by what they are compiled for. */
  readonly #marches = new Map<string, Program>();
  readonly #light: Program;
  readonly #present: Program;
  readonly #floats: boolean;
  readonly #absent: WebGLTexture[];
  readonly #frame: WebGLFramebuffer;
  readonly #colors: WebGLTexture;
  readonly #glowColors: WebGLTexture;
  #colorKey = "";
  readonly #targets = new Map<number, { texture: WebGLTexture; width: number; height: number }>();
  /** How much light reaches each place, for each picture on the canvas. */
  readonly #lights = new Map<number, Light>();

  constructor(readonly canvas: HTMLCanvasElement) {
    const gl = canvas.getContext("webgl2", {
      antialias: false,
      alpha: false,
      preserveDrawingBuffer: true,
    });
    if (!gl)
      throw new Error(
        "This browser has no WebGL 2, by which volumes are drawn. Another one may have it, or this " +
          "one with hardware acceleration, in its settings.",
      );
    this.gl = gl;
    // Without either extension, pictures are gathered in 8 bits: they show steps in dark places.
    this.#floats = !!(
      gl.getExtension("EXT_color_buffer_float") ?? gl.getExtension("EXT_color_buffer_half_float")
    );
    this.#light = new Program(gl, "#define MODE FOG\n" + lookShader + lightShader);
    this.#present = new Program(gl, presentShader);
    this.#frame = gl.createFramebuffer()!;
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
    this.#absent = [gl.RGBA8UI, gl.RG32F, gl.R16F].map((format) =>
      textureOf(gl, format, [1, 1, 1], gl.NEAREST),
    );
    this.#colors = textureOf(gl, gl.RGBA16F, [256, 1], gl.LINEAR);
    this.#glowColors = textureOf(gl, gl.RGBA16F, [256, 1], gl.LINEAR);
  }

  /** What draws, as the browser names it. */
  get device(): string {
    const names = this.gl.getExtension("WEBGL_debug_renderer_info");
    return String(this.gl.getParameter(names ? names.UNMASKED_RENDERER_WEBGL : this.gl.RENDERER));
  }

  /**
   * Draws a picture.
   *
   * @param picture number of the picture on the canvas, as of two that stand side by side
   * @param area the part of the canvas in pixels: left, bottom, width, height
   * @param clip the part of the area that is drawn: shares of its width where it begins and ends
   * @param scale share of the pixels along each axis that are marched
   * @param gathered pictures of the same view before this one
   * @param jitter of the samples along their steps, 0 to 1; null: another one in each picture
   */
  draw(
    picture: number,
    scene: Scene | null,
    setting: Setting,
    view: Matrix,
    area: [number, number, number, number],
    clip: [number, number],
    scale: number,
    gathered: number,
    jitter: number | null,
    stepVoxels: number,
  ): void {
    const gl = this.gl;
    const [width, height] = [
      Math.max(1, Math.round(area[2] * scale)),
      Math.max(1, Math.round(area[3] * scale)),
    ];
    const target = this.#sized(picture, width, height);
    gl.disable(gl.SCISSOR_TEST);
    if (scene) this.#lighten(picture, scene, setting);
    gl.bindFramebuffer(gl.FRAMEBUFFER, this.#frame);
    gl.framebufferTexture2D(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, gl.TEXTURE_2D, target, 0);
    gl.viewport(0, 0, width, height);
    gl.enable(gl.SCISSOR_TEST);
    const [begins, ends] = clip.map((own) => Math.round(own * width)) as [number, number];
    gl.scissor(begins, 0, ends - begins, height);
    if (!gathered) {
      gl.clearColor(0, 0, 0, 0);
      gl.clear(gl.COLOR_BUFFER_BIT);
    }
    if (scene) {
      this.#marching(
        this.#marchOf(scene),
        picture,
        scene,
        setting,
        view,
        jitter === null ? (0.5 + gathered * 0.618034) % 1 : jitter,
        jitter === null,
        stepVoxels,
      );
      gl.enable(gl.BLEND);
      gl.blendColor(0, 0, 0, 1 / (gathered + 1));
      gl.blendFunc(gl.CONSTANT_ALPHA, gl.ONE_MINUS_CONSTANT_ALPHA);
      gl.drawArrays(gl.TRIANGLES, 0, 3);
      gl.disable(gl.BLEND);
    }
    gl.bindFramebuffer(gl.FRAMEBUFFER, null);
    gl.viewport(...area);
    const [left, right] = clip.map((own) => area[0] + Math.round(own * area[2])) as [
      number,
      number,
    ];
    gl.scissor(left, area[1], right - left, area[3]);
    const present = this.#present;
    present.use();
    present.texture("marched", gl.TEXTURE_2D, target, 0);
    const [top, bottom] = BACKDROPS[setting.backdrop];
    present.vector("backdropTop", top);
    present.vector("backdropBottom", bottom);
    const lights =
      !scene || scene.look.mode === "fog" || scene.look.mode === "surface" || scene.glow;
    present.number("exposure", lights ? setting.exposure : 0);
    gl.drawArrays(gl.TRIANGLES, 0, 3);
    gl.disable(gl.SCISSOR_TEST);
  }

  /** The program for a scene, which is compiled when it is first needed. */
  #marchOf({ look, glow, marks, bricks }: Scene): Program {
    const asked = {
      MODE: MODES.indexOf(look.mode),
      GLOWS: glow ? 1 : 0,
      MARKS: marks && bricks.atlas.marks ? 1 : 0,
    };
    const text = Object.entries(asked).map(([name, own]) => `#define ${name} ${own}\n`);
    const key = text.join("");
    const found = this.#marches.get(key) ?? new Program(this.gl, key + lookShader + marchShader);
    this.#marches.set(key, found);
    return found;
  }

  #marching(
    march: Program,
    picture: number,
    scene: Scene,
    setting: Setting,
    view: Matrix,
    jitter: number,
    dither: boolean,
    stepVoxels: number,
  ): void {
    const { look, glow, bricks } = scene;
    const gl = this.gl;
    march.use();
    this.#volumes(march, scene);
    march.matrix("screenToWorld", inverse(multiply(view, translation(originOf(scene)))));
    const [lower, upper] = scene.part.map((own) => add(own, bricks.shift));
    march.vector("lower", lower!);
    march.vector("upper", upper!);
    march.number("stepLength", scene.voxel * stepVoxels);
    march.number("jitter", jitter);
    march.whole("dither", dither ? 1 : 0);
    march.number("density", this.#density(scene));
    const window = look.window.map((own) => bricks.normal(own)) as [number, number];
    if (!(window[1] > window[0])) window[1] = window[0] + 1e-6;
    march.pair("window", window);
    const [low, high] = look.window;
    march.number("clear", bricks.normal(low + clearOf(look) * (high - low)));
    march.number("isovalue", bricks.normal(look.isovalue));
    march.number("voxel", scene.voxel);
    march.vector("toLight", setting.toLight);
    march.vector("upward", setting.upward);
    march.vector("lightColor", LIGHT);
    march.vector("ambient", AMBIENT);
    march.vector("albedo", glow ? SOOT : ALBEDO);
    march.texture(
      "lightVolume",
      gl.TEXTURE_3D,
      this.#lights.get(picture)?.texture ?? this.#absent[2]!,
      8,
    );
    const box = this.#lightBox(scene);
    march.vector("lightLower", box.lower);
    march.vector("lightSize", box.size);
    march.number("glow", glow ? glow.strength / scene.extent : 0);
    march.pair(
      "glowWindow",
      glow ? (glow.window.map((own) => glow.bricks.normal(own)) as [number, number]) : [0, 1],
    );
    this.#colour(look);
    march.texture("colors", gl.TEXTURE_2D, this.#colors, 9);
    march.texture("glowColors", gl.TEXTURE_2D, this.#glowColors, 10);
  }

  /** Absorption a world unit for a normalised value of 1. */
  #density(scene: Scene): number {
    const { look, bricks } = scene;
    const half = Math.LN2 / scene.extent;
    if (look.mode !== "fog") return half * look.density;
    return (half * look.density * bricks.scale) / Math.max(look.window[1] - look.window[0], 1e-37);
  }

  #volumes(program: Program, scene: Scene): void {
    const origin = translation(originOf(scene));
    this.#volume(program, "A", scene.bricks, origin, 0, hiddenOf(scene));
    const glow = scene.glow;
    this.#volume(
      program,
      "B",
      glow?.bricks ?? null,
      origin,
      4,
      glow ? [-1e30, glow.bricks.normal(coldest(glow.window))] : [0, 0],
    );
  }

  #volume(
    program: Program,
    letter: string,
    bricks: Bricks | null,
    origin: Matrix,
    unit: number,
    hidden: [number, number],
  ): void {
    const gl = this.gl;
    const name = `volume${letter}`;
    program.texture(`pages${letter}`, gl.TEXTURE_3D, bricks?.pages ?? this.#absent[0]!, unit);
    program.texture(`ranges${letter}`, gl.TEXTURE_3D, bricks?.ranges ?? this.#absent[1]!, unit + 1);
    const atlas = bricks?.atlas;
    program.texture(`blocks${letter}`, gl.TEXTURE_3D, atlas?.ranges ?? this.#absent[1]!, unit + 2);
    program.texture(`atlas${letter}`, gl.TEXTURE_3D, atlas?.texture ?? this.#absent[2]!, unit + 3);
    program.wholes(`${name}.cells`, bricks?.cells ?? [0, 0, 0]);
    if (!bricks) return;
    program.matrix(
      `${name}.toVoxels`,
      multiply(multiply(translation(bricks.shift), inverse(worldOf(bricks.grid))), origin),
    );
    program.number(`${name}.brick`, bricks.atlas.brick);
    program.number(`${name}.blocks`, bricks.atlas.blocks);
    program.vector(`${name}.texel`, bricks.atlas.size.map((own) => 1 / own) as Vector);
    program.number(`${name}.outside`, bricks.outside);
    program.pair(`${name}.hidden`, hidden);
  }

  /** Computes how much light reaches each place, where that may have changed. */
  #lighten(picture: number, scene: Scene, setting: Setting): void {
    if (scene.look.mode !== "fog") return;
    const density = this.#density(scene);
    const box = this.#lightBox(scene);
    const key = [
      density,
      scene.look.window[0],
      ...setting.toLight,
      ...scene.lower,
      ...box.size,
      scene.bricks.decoded,
      ids(scene.bricks),
    ].join();
    // It takes as long as some pictures: while regions arrive it may be a little old.
    const now = performance.now();
    let held = this.#lights.get(picture);
    if (key === held?.key || (scene.loading && held && now - held.time < LIGHT_PAUSE)) return;
    const gl = this.gl;
    const longest = Math.max(...box.size);
    const size = box.size.map((own) =>
      Math.max(2, Math.round((LIGHT_EDGE * own) / longest)),
    ) as Vector;
    if (held?.size.join() !== size.join()) {
      if (held) gl.deleteTexture(held.texture);
      held = { texture: textureOf(gl, gl.R8, size, gl.LINEAR), size, key, time: now };
      this.#lights.set(picture, held);
    }
    Object.assign(held!, { key, time: now });
    const light = this.#light;
    light.use();
    this.#volumes(light, scene);
    light.vector("lightLower", box.lower);
    light.vector("lightSize", box.size);
    light.vector("toLight", setting.toLight);
    light.number("density", density);
    light.number("thin", scene.bricks.normal(scene.look.window[0]));
    light.number("stepLength", scene.voxel * 2);
    gl.bindFramebuffer(gl.FRAMEBUFFER, this.#frame);
    gl.viewport(0, 0, size[0], size[1]);
    for (let slice = 0; slice < size[2]; slice++) {
      gl.framebufferTextureLayer(gl.FRAMEBUFFER, gl.COLOR_ATTACHMENT0, held!.texture, 0, slice);
      light.number("slice", (slice + 0.5) / size[2]);
      gl.drawArrays(gl.TRIANGLES, 0, 3);
    }
  }

  #lightBox(scene: Scene): { lower: Vector; size: Vector } {
    const { lower } = scene;
    return {
      lower: sub(lower, originOf(scene)),
      size: scene.upper.map((own, axis) => Math.max(own - lower[axis]!, 1e-30)) as Vector,
    };
  }

  #sized(picture: number, width: number, height: number): WebGLTexture {
    const gl = this.gl;
    const held = this.#targets.get(picture);
    if (held?.width === width && held.height === height) return held.texture;
    if (held) gl.deleteTexture(held.texture);
    const format = this.#floats ? gl.RGBA16F : gl.RGBA8;
    const texture = textureOf(gl, format, [width, height], gl.LINEAR);
    this.#targets.set(picture, { texture, width, height });
    return texture;
  }

  #colour(look: Look): void {
    const clear = clearOf(look);
    const key = `${look.map} ${look.curve} ${clear}`;
    if (this.#colorKey === key) return;
    this.#colorKey = key;
    const gl = this.gl;
    const put = (texture: WebGLTexture, colors: Float32Array) => {
      gl.bindTexture(gl.TEXTURE_2D, texture);
      gl.texSubImage2D(gl.TEXTURE_2D, 0, 0, 0, 256, 1, gl.RGBA, gl.FLOAT, colors);
    };
    put(this.#colors, colorsOf(look.map, look.curve, clear));
    put(this.#glowColors, colorsOf("black body"));
  }
}

/** Values that cannot be seen: what has none beyond them is skipped. Of a surface, where it lies. */
function hiddenOf({ look, bricks }: Scene): [number, number] {
  const [low, high] = look.window.map((own) => bricks.normal(own)) as [number, number];
  if (look.mode === "fog") return [-1e30, low];
  if (look.mode === "surface") return [bricks.normal(look.isovalue), bricks.normal(look.isovalue)];
  const clear = clearOf(look);
  if (clear === 0) return [-1e30, low + 1e-6];
  if (clear === 1) return [high - 1e-6, 1e30];
  return [bricks.normal(look.clear) - 1e-6, bricks.normal(look.clear) + 1e-6];
}

/** The value below which a black body cannot be seen. */
function coldest([low, high]: [number, number]): number {
  return low + COLD * (high - low);
}

/** Where shaders have their origin in world space: far away, float32 would not tell voxels apart. */
function originOf({ lower, upper }: Scene): Vector {
  return times(add(lower, upper), 0.5);
}

const numbers = new WeakMap<Bricks, number>();
let last = 0;
function ids(bricks: Bricks): number {
  if (!numbers.has(bricks)) numbers.set(bricks, ++last);
  return numbers.get(bricks)!;
}

/** A shader program and its uniforms. */
class Program {
  readonly #gl: WebGL2RenderingContext;
  readonly #program: WebGLProgram;
  readonly #places = new Map<string, WebGLUniformLocation | null>();

  constructor(gl: WebGL2RenderingContext, fragment: string) {
    this.#gl = gl;
    this.#program = gl.createProgram()!;
    for (const [kind, text] of [
      [gl.VERTEX_SHADER, VERTEX],
      [gl.FRAGMENT_SHADER, `#version 300 es\n${fragment}`],
    ] as const) {
      const shader = gl.createShader(kind)!;
      gl.shaderSource(shader, text);
      gl.compileShader(shader);
      if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS))
        throw new Error(`a shader does not compile: ${gl.getShaderInfoLog(shader)}`);
      gl.attachShader(this.#program, shader);
    }
    gl.linkProgram(this.#program);
    if (!gl.getProgramParameter(this.#program, gl.LINK_STATUS))
      throw new Error(`a shader does not link: ${gl.getProgramInfoLog(this.#program)}`);
  }

  use(): void {
    this.#gl.useProgram(this.#program);
  }

  number(name: string, value: number): void {
    this.#gl.uniform1f(this.#place(name), value);
  }

  pair(name: string, value: readonly number[]): void {
    this.#gl.uniform2f(this.#place(name), value[0]!, value[1]!);
  }

  vector(name: string, value: readonly number[]): void {
    this.#gl.uniform3f(this.#place(name), value[0]!, value[1]!, value[2]!);
  }

  whole(name: string, value: number): void {
    this.#gl.uniform1i(this.#place(name), value);
  }

  wholes(name: string, value: readonly number[]): void {
    this.#gl.uniform3i(this.#place(name), value[0]!, value[1]!, value[2]!);
  }

  matrix(name: string, value: Matrix): void {
    this.#gl.uniformMatrix4fv(this.#place(name), false, Float32Array.from(value));
  }

  texture(name: string, kind: number, texture: WebGLTexture, unit: number): void {
    this.#gl.activeTexture(this.#gl.TEXTURE0 + unit);
    this.#gl.bindTexture(kind, texture);
    this.#gl.uniform1i(this.#place(name), unit);
  }

  #place(name: string): WebGLUniformLocation | null {
    if (!this.#places.has(name))
      this.#places.set(name, this.#gl.getUniformLocation(this.#program, name));
    return this.#places.get(name)!;
  }
}
