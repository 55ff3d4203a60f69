// Bundles the decoder and the page: node build.mjs MODULE.wasm OUT
//
// MODULE.wasm is the core for browsers, which scripts/build_viewer.py compiles. OUT/page.html holds
// all that the viewer needs; OUT/decoder.js and OUT/three.js are the npm package.

import { build } from "esbuild";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { gzipSync } from "node:zlib";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const [moduleFile, out] = process.argv.slice(2);
const target = "es2022";

/** What the conditions of the format mean, by their ids: the table of spec/errors.md. */
async function rules() {
  const text = await readFile(join(here, "..", "spec", "errors.md"), "utf8");
  const rows = text.matchAll(/^\| ([A-Z]\d+) \| (.+?) \| .* \|$/gm);
  const plain = (words) => words.replace(/[`*]/g, "").replace(/\[(.*?)\]\(.*?\)/g, "$1");
  return Object.fromEntries(Array.from(rows, ([, id, words]) => [id, plain(words)]));
}

/** Modules whose names begin with "inrv:", which are made here. */
function made() {
  return {
    name: "inrv",
    setup(bundler) {
      bundler.onResolve({ filter: /^inrv:/ }, ({ path }) => ({ path, namespace: "inrv" }));
      bundler.onLoad({ filter: /.*/, namespace: "inrv" }, async ({ path }) => {
        if (path === "inrv:rules")
          return { contents: JSON.stringify(await rules()), loader: "json" };
        if (path === "inrv:module") {
          const packed = gzipSync(await readFile(moduleFile), { level: 9 });
          return { contents: packed.toString("base64"), loader: "text" };
        }
        const bundled = await build({
          ...common,
          entryPoints: [join(here, "decoder", "worker.ts")],
          format: "iife",
          write: false,
        });
        return { contents: bundled.outputFiles[0].text, loader: "text" };
      });
    },
  };
}

const common = {
  bundle: true,
  minify: true,
  target,
  legalComments: "none",
  loader: { ".glsl": "text", ".css": "text" },
  plugins: [made()],
  logLevel: "warning",
};

await mkdir(out, { recursive: true });
for (const [name, external] of [
  ["decoder", []],
  ["three", ["three", "@inrv/decoder"]],
])
  await build({
    ...common,
    entryPoints: [join(here, "decoder", name === "decoder" ? "index.ts" : `${name}.ts`)],
    format: "esm",
    external,
    outfile: join(out, `${name}.js`),
  });

const bundled = await build({
  ...common,
  entryPoints: [join(here, "page", "main.ts")],
  format: "iife",
  write: false,
});
// A page must not end the script early, wherever a text within it holds these letters.
const script = bundled.outputFiles[0].text.replaceAll("</script", "<\\/script");
const [page, style] = await Promise.all(
  ["page.html", "page.css"].map((name) => readFile(join(here, "page", name), "utf8")),
);
const minified = await build({
  stdin: { contents: style, loader: "css" },
  minify: true,
  write: false,
});
await writeFile(
  join(out, "page.html"),
  page
    .replace("/*style*/", () => minified.outputFiles[0].text.trim())
    .replace("/*script*/", () => script),
);
