/** Whether planes come packed over a line, and how they are unpacked (`workbench/server/packing.py`). */

/** Slower than this, packing costs less than it saves. */
const SLOW_BYTES_PER_MS = 8000;
/** How much the newest answer counts. */
const NEWEST = 0.3;
/** Answers that are smaller say more of the way there and back than of the line. */
const TELLING_BYTES = 50_000;

/** How fast a line is, from what came over it. */
export class Line {
  private bytesPerMs: number | undefined;

  /** Packed as long as nothing is known. */
  get isSlow(): boolean {
    return this.bytesPerMs === undefined || this.bytesPerMs < SLOW_BYTES_PER_MS;
  }

  /** How many milliseconds so many bytes of planes take; of a line that nothing is known of, a slow one. */
  takes(bytes: number): number {
    return bytes / (this.bytesPerMs ?? SLOW_BYTES_PER_MS);
  }

  /** So many bytes came in so long a time. */
  took(bytes: number, milliseconds: number): void {
    if (bytes >= TELLING_BYTES) {
      const now = bytes / Math.max(milliseconds, 0.1);
      this.bytesPerMs = this.bytesPerMs === undefined ? now : NEWEST * now + (1 - NEWEST) * this.bytesPerMs;
    }
  }
}

/** Bytes of a value together again; gzip was undone by the browser. */
export function unpacked(buffer: ArrayBuffer, itemsize: number): ArrayBuffer {
  if (itemsize === 1) {
    return buffer;
  }
  const from = new Uint8Array(buffer);
  const to = new Uint8Array(from.length);
  const count = from.length / itemsize;
  for (let byte = 0; byte < itemsize; byte += 1) {
    const start = byte * count;
    for (let at = 0, into = byte; at < count; at += 1, into += itemsize) {
      to[into] = from[start + at]!;
    }
  }
  return to.buffer;
}
