// Decodes files by the module of the npm package: prints, for each, a digest of every grid's blocks.
//
// node decode.mjs DECODER.js LEVEL FILE...

import { createHash } from "node:crypto";
import { readFile } from "node:fs/promises";

const [library, level, ...paths] = process.argv.slice(2);
const { Core, bytesSource, coreModule } = await import(library);
const found = {};
for (const path of paths) {
  const file = Core.of(await coreModule()).open(
    bytesSource(new Uint8Array(await readFile(path)), path),
  );
  found[path] = file.timeline.frames.map((frame, place) =>
    file
      .grids(place)
      .filter((grid) => !grid.passthrough)
      .map((grid) => {
        const { corners } = file.skeleton(place, grid.number);
        const digest = createHash("sha256");
        for (let at = 0; at < corners.length; at += 3) {
          const block = file.block(
            place,
            grid.number,
            corners.subarray(at, at + 3),
            Number(level),
          );
          digest.update(block.values).update(block.active);
        }
        return {
          frame: frame.number,
          name: grid.name,
          box: grid.box,
          matrix: grid.matrix,
          corners: Array.from(corners),
          digest: digest.digest("hex"),
        };
      }),
  );
  file.close();
}
console.log(JSON.stringify(found));
