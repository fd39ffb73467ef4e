import type { Values } from './scene';
import { BLACK } from './shades';

/** What is painted over images. */
export interface Paint {
  /** Labels of a plane, rows × columns; 0 for none. */
  labels(plane: number): Uint8Array;
  /** By label: red, green and blue. */
  colors: ReadonlyMap<number, readonly [number, number, number]>;
  opacity: number;
}

/** Lay the colours of labels into pixels; where a label ends, they are opaque. */
export function lay({ colors, opacity }: Paint, labels: Values, width: number, pixels: Uint32Array): void {
  const words = new Map(
    [...colors].map(([label, [red, green, blue]]) => [label, (blue << 16) | (green << 8) | red])
  );
  const inside = Math.round(255 * opacity) << 24;
  for (let at = 0; at < pixels.length; at += 1) {
    const label = labels[at]!;
    const word = label > 0 ? words.get(label) : undefined;
    if (word === undefined) {
      pixels[at] = 0;
      continue;
    }
    const isEdge = [at - 1, at + 1, at - width, at + width].some(beside => labels[beside] !== label);
    pixels[at] = word | (isEdge ? BLACK : inside);
  }
}
