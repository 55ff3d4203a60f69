/** Modules that build.mjs makes. */

declare module "inrv:rules" {
  /** What the conditions of the format mean, by their ids. */
  const rules: Record<string, string>;
  export default rules;
}

declare module "inrv:module" {
  /** The core for browsers: base64 of gzip of a WebAssembly module. */
  const module: string;
  export default module;
}

declare module "inrv:worker" {
  /** The program of a worker. */
  const worker: string;
  export default worker;
}

declare module "*.glsl" {
  const shader: string;
  export default shader;
}

/** Of workers: the library of types for pages does not have it. */
declare class FileReaderSync {
  readAsArrayBuffer(blob: Blob): ArrayBuffer;
}
