/** Pictures for a program: they are drawn when all is loaded, and sent to the server. */

import type { App } from "./app.js";

export interface Shots {
  /** URL that the pictures are posted to, with their number behind it. */
  to: string;
  width: number;
  height: number;
  /** 1, or how many pictures a whole turn takes. */
  count: number;
  /** Whether each is of the next frame, too, of a sequence. */
  frames: boolean;
}

export async function takeShots(app: App, shots: Shots): Promise<void> {
  const canvas = app.renderer.canvas;
  canvas.style.width = `${shots.width / (window.devicePixelRatio || 1)}px`;
  canvas.style.height = `${shots.height / (window.devicePixelRatio || 1)}px`;
  [canvas.width, canvas.height] = [shots.width, shots.height];
  app.still = true;
  const start = app.camera.turn;
  const first = app.player.place;
  for (let number = 0; number < shots.count; number++) {
    app.camera.turn = start + (2 * Math.PI * number) / shots.count;
    if (shots.frames) app.go((first + number) % app.player.count);
    app.touch(true); // the size or the turn may want finer regions
    await app.settled();
    app.drawWhole();
    const picture = await new Promise<Blob>((resolve) =>
      canvas.toBlob((own) => resolve(own!), "image/png"),
    );
    await fetch(`${shots.to}/${number}`, { method: "POST", body: picture });
  }
  await fetch(`${shots.to}/done`, { method: "POST" });
}
