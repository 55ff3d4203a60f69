/** Where the bytes of a file come from. All but `bytesSource` read in workers only. */

import { InrvError, type Source } from "./core.js";

/** What a caller may give for a file. */
export type Given = string | URL | ArrayBuffer | Uint8Array | Blob;

/** What reaches a worker. */
export type Sent = { url: string } | { blob: Blob } | { bytes: Uint8Array };

/** What of a distant file is read and kept at once. */
const PIECE = 1 << 18;
const MOST_PIECES = 128;

/** Makes something of a file that can be sent to workers; a Blob and a URL are not copied. */
export function sendable(given: Given): Sent {
  if (given instanceof Blob) return { blob: given };
  if (given instanceof ArrayBuffer) return { bytes: new Uint8Array(given) };
  if (given instanceof Uint8Array) return { bytes: given };
  const base = typeof document === "undefined" ? undefined : document.baseURI;
  return { url: new URL(given, base).href };
}

/** Opens what reached a worker. */
export function sourceOf(sent: Sent, name: string): Source {
  if ("bytes" in sent) return bytesSource(sent.bytes, name);
  if ("blob" in sent) return blobSource(sent.blob, name);
  return urlSource(sent.url, name);
}

/** Bytes in memory. */
export function bytesSource(bytes: Uint8Array, name = "the file"): Source {
  return {
    size: bytes.length,
    name,
    read: (offset, length) => bytes.subarray(offset, offset + length),
  };
}

/** A file of the user's, of which only what is needed is read. */
export function blobSource(blob: Blob, name: string): Source {
  const reader = new FileReaderSync();
  return {
    size: blob.size,
    name,
    read: (offset, length) =>
      new Uint8Array(reader.readAsArrayBuffer(blob.slice(offset, offset + length))),
  };
}

/** A file at a URL, read by range requests; as a whole where the server does not give ranges. */
export function urlSource(url: string, name: string): Source {
  const first = fetched(url, 0, PIECE);
  if (first.whole) return bytesSource(first.bytes, name);
  const pieces = new Map<number, Uint8Array>([[0, first.bytes]]);

  const piece = (number: number): Uint8Array => {
    const kept = pieces.get(number);
    pieces.delete(number);
    const found = kept ?? fetched(url, number * PIECE, (number + 1) * PIECE).bytes;
    pieces.set(number, found); // the newest one stands last
    if (pieces.size > MOST_PIECES) pieces.delete(pieces.keys().next().value!);
    return found;
  };

  return {
    size: first.size,
    name,
    read(offset, length) {
      if (length > PIECE) return fetched(url, offset, offset + length).bytes;
      const number = Math.floor(offset / PIECE);
      const start = offset - number * PIECE;
      const head = piece(number).subarray(start, start + length);
      if (head.length === length || start + length <= PIECE) return head;
      const both = new Uint8Array(length);
      both.set(head);
      both.set(piece(number + 1).subarray(0, length - head.length), head.length);
      return both;
    },
  };
}

/** Reads the bytes from `start` to before `end`, and tells how many there are in all. */
function fetched(url: string, start: number, end: number) {
  // A worker may wait: the core asks for bytes in the middle of its work.
  const request = new XMLHttpRequest();
  request.open("GET", url, false);
  request.responseType = "arraybuffer";
  request.setRequestHeader("Range", `bytes=${start}-${end - 1}`);
  try {
    request.send();
  } catch {
    throw new InrvError(`${url} cannot be fetched: there is no answer, or the server forbids it`);
  }
  if (request.status !== 200 && request.status !== 206)
    throw new InrvError(`${url} cannot be fetched: the server answers ${request.status}`);
  const bytes = new Uint8Array(request.response as ArrayBuffer);
  const total = /\/(\d+)$/.exec(request.getResponseHeader("Content-Range") ?? "");
  const whole = request.status === 200;
  if (!whole && !total) throw new InrvError(`${url}: the server does not tell how long it is`);
  return { bytes, whole, size: whole ? bytes.length : Number(total![1]) };
}
