/** Textures of fixed size. Where a place lies beyond one, its nearest texel stands for it. */

/** Numbers along the axes of a texture: two, or three of a volume. */
export type Size = readonly number[];

/** Makes a texture of two axes or three. */
export function textureOf(
  gl: WebGL2RenderingContext,
  format: number,
  size: Size,
  filter: number,
): WebGLTexture {
  const kind = size.length === 3 ? gl.TEXTURE_3D : gl.TEXTURE_2D;
  const texture = gl.createTexture()!;
  gl.bindTexture(kind, texture);
  if (size.length === 3) gl.texStorage3D(kind, 1, format, size[0]!, size[1]!, size[2]!);
  else gl.texStorage2D(kind, 1, format, size[0]!, size[1]!);
  for (const name of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER])
    gl.texParameteri(kind, name, filter);
  for (const name of [gl.TEXTURE_WRAP_S, gl.TEXTURE_WRAP_T, gl.TEXTURE_WRAP_R])
    gl.texParameteri(kind, name, gl.CLAMP_TO_EDGE);
  return texture;
}

/**
 * Writes a box of a texture of three axes.
 *
 * @param format, type of the texels, as WebGL names them; x changes first
 */
export function writeTexels(
  gl: WebGL2RenderingContext,
  texture: WebGLTexture,
  from: Size,
  shape: Size,
  format: number,
  type: number,
  texels: ArrayBufferView,
): void {
  const [x, y, z] = from as [number, number, number];
  const [wide, high, deep] = shape as [number, number, number];
  gl.bindTexture(gl.TEXTURE_3D, texture);
  gl.texSubImage3D(gl.TEXTURE_3D, 0, x, y, z, wide, high, deep, format, type, texels);
}
