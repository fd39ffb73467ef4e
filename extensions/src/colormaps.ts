import { COLORS } from './masks';

/** Colours of values: tables that are interpolated, by the names that Python has (`workbench/widgets/overlays.py`). */

export type Color = readonly [number, number, number];

/** Colours at equal distances from the lower end of a window to the upper one. */
const TABLES: Record<string, readonly Color[]> = {
  hot: [
    [0, 0, 0],
    [128, 0, 0],
    [255, 0, 0],
    [255, 128, 0],
    [255, 255, 0],
    [255, 255, 128],
    [255, 255, 255]
  ],
  jet: [
    [0, 0, 143],
    [0, 0, 255],
    [0, 255, 255],
    [128, 255, 128],
    [255, 255, 0],
    [255, 0, 0],
    [128, 0, 0]
  ],
  viridis: [
    [68, 1, 84],
    [71, 44, 122],
    [59, 81, 139],
    [44, 113, 142],
    [33, 144, 141],
    [39, 173, 129],
    [92, 200, 99],
    [170, 220, 50],
    [253, 231, 37]
  ],
  cool: [
    [0, 255, 255],
    [255, 0, 255]
  ],
  gray: [
    [0, 0, 0],
    [255, 255, 255]
  ]
};
const STEPS = 256;

/** 256 colours, red, green, blue of each after the other. */
export function table(name: string): Uint8Array {
  const colors = TABLES[name] ?? TABLES['gray']!;
  const out = new Uint8Array(3 * STEPS);
  for (let step = 0; step < STEPS; step += 1) {
    const at = (step / (STEPS - 1)) * (colors.length - 1);
    const below = Math.min(Math.floor(at), colors.length - 2);
    for (let part = 0; part < 3; part += 1) {
      const [low, high] = [colors[below]![part]!, colors[below + 1]![part]!];
      out[3 * step + part] = Math.round(low + (at - below) * (high - low));
    }
  }
  return out;
}

/** Colours of labels above 0: those that some have, others of a row that comes again. */
export function labelColors(own: Readonly<Record<string, Color>>): (label: number) => Color {
  const given = new Map(Object.entries(own).map(([label, color]) => [Number(label), color]));
  return label => given.get(label) ?? COLORS[(label - 1) % COLORS.length]!;
}

/** A bar of a colormap, as CSS has it. */
export function gradient(name: string): string {
  const colors = TABLES[name] ?? TABLES['gray']!;
  return `linear-gradient(to right, ${colors.map(each => `rgb(${each.join(' ')})`).join(', ')})`;
}
