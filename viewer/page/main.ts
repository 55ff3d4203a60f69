/** The page: it opens what its settings, its address or its user name, and shows that. */

import { App } from "./app.js";
import { Panel, type Promised } from "./panel.js";
import { Renderer } from "./renderer.js";
import { takeShots, type Shots } from "./shots.js";
import { fromBytes, opened, type Named, type Volume } from "./volumes.js";

/** What the server writes into the page; a page without it asks its address, or its user. */
interface Settings {
  file?: Named;
  /** The file that it is compared with. */
  reference?: Named;
  grid?: string;
  /** Number of the frame that is shown first. */
  frame?: number;
  /** Bytes on the GPU. */
  budget?: number;
  promised?: Promised;
  shots?: Shots;
}

const BUDGET = 1 << 29;

async function main(): Promise<void> {
  const settings = JSON.parse(document.getElementById("settings")!.textContent || "{}") as Settings;
  const asked = new URLSearchParams(location.search).get("file");
  const named = settings.file ?? (asked ? { url: asked, name: asked.split("/").pop()! } : null);
  try {
    if (named) await show(await opened(named), settings);
    else await welcome(settings);
  } catch (error) {
    tell(error as Error);
    if (settings.shots)
      await fetch(`${settings.shots.to}/failed`, {
        method: "POST",
        body: (error as Error).message,
      });
  }
}

async function show(volume: Volume, settings: Settings): Promise<void> {
  document.title = `${volume.name} – inrv`;
  const other = settings.reference ? await opened(settings.reference) : null;
  const canvas = document.createElement("canvas");
  const app = new App(new Renderer(canvas), volume, other, settings.budget ?? BUDGET);
  const panel = new Panel(app, document.body, settings.promised ?? {});
  Object.assign(window, { inrv: { app, panel } });
  for (const name of ["bare", "shots"]) document.body.classList.toggle(name, !!settings.shots);
  try {
    await app.start(settings.grid, settings.frame);
  } catch (error) {
    panel.fail((error as Error).message);
    throw error;
  }
  if (settings.shots) {
    const { number } = app.volume.timeline.frames[app.player.place]!;
    if (settings.frame !== undefined && settings.frame !== number)
      throw new Error(app.error || `frame ${settings.frame} has no grid with values`);
    await takeShots(app, settings.shots);
  }
}

/** Without a file: the user may choose one, or drop it. */
async function welcome(settings: Settings): Promise<void> {
  const given = document.createElement("input");
  Object.assign(given, { type: "file", accept: ".inrv" });
  const text = document.createElement("p");
  text.className = "welcome";
  text.append("Choose an .inrv file, or drop it here. It stays on this machine. ", given);
  document.body.append(text);
  const file = await new Promise<File>((resolve) => {
    given.onchange = () => given.files?.[0] && resolve(given.files[0]);
    document.body.ondragover = (event) => event.preventDefault();
    document.body.ondrop = (event) => {
      event.preventDefault();
      const dropped = event.dataTransfer?.files[0];
      if (dropped) resolve(dropped);
    };
  });
  text.remove();
  await show(await fromBytes(file, file.name), settings);
}

function tell(error: Error): void {
  if (document.querySelector(".message")) return; // the panel has told it
  const message = document.createElement("p");
  message.className = "message";
  message.setAttribute("role", "alert");
  message.textContent = error.message;
  document.body.append(message);
}

void main();
