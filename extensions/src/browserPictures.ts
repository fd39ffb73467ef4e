import type { Line } from './browserLines';
import { SERIES } from './browserLines';
import type { Model } from './model';

export interface Picture {
  url: string;
  reason: string;
}

const KEPT = 600;
/** So long nothing is asked for while lines come and go. */
const REST_MS = 80;

/** Thumbnails by the row of their series; those of what is visible are asked for when scrolling rests. */
export class Pictures {
  private readonly known = new Map<number, Picture>();
  private asked = '';
  private timer = 0;

  constructor(private readonly model: Model) {}

  get(row: number): Picture | undefined {
    const found = this.known.get(row);
    if (found !== undefined) {
      this.known.delete(row);
      this.known.set(row, found); // the last to be forgotten
    }
    return found;
  }

  want(lines: readonly Line[]): void {
    const wanted = lines
      .filter(line => line.level === SERIES && !line.remote && !line.gone)
      .map(line => line.row);
    clearTimeout(this.timer);
    this.timer = window.setTimeout(() => {
      const rows = wanted.filter(row => !this.known.has(row));
      if (rows.length > 0 && rows.join() !== this.asked) {
        this.asked = rows.join();
        this.model.send({ kind: 'pictures', rows });
      }
    }, REST_MS);
  }

  came(row: number, reason: string, png: DataView | undefined): void {
    this.forget(row);
    const url =
      png === undefined ? '' : URL.createObjectURL(new Blob([png as BlobPart], { type: 'image/png' }));
    this.known.set(row, { url, reason });
    for (const oldest of this.known.keys()) {
      if (this.known.size <= KEPT) {
        break;
      }
      this.forget(oldest);
    }
  }

  clear(): void {
    clearTimeout(this.timer);
    this.asked = '';
    for (const row of [...this.known.keys()]) {
      this.forget(row);
    }
  }

  private forget(row: number): void {
    const found = this.known.get(row);
    if (found !== undefined) {
      URL.revokeObjectURL(found.url);
      this.known.delete(row);
    }
  }
}
