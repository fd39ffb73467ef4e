import { utilities } from '@cornerstonejs/core';
import type { Scene } from './scene';
import { trans } from './words';

/** What a mark measures, written beside it. */

/** What Cornerstone calls it, what people do, and its unit. */
const MEASURES: readonly [string, string, 'mm' | 'mm²' | '°' | 'value'][] = [
  ['length', 'Length', 'mm'],
  ['width', 'Width', 'mm'],
  ['angle', 'Angle', '°'],
  ['area', 'Area', 'mm²'],
  ['mean', 'Mean', 'value'],
  ['max', 'Max', 'value'],
  ['min', 'Min', 'value'],
  ['stdDev', 'Std Dev', 'value'],
  ['value', 'Value', 'value']
];

/** Of these it is clear what they are where they stand alone. */
const CLEAR = new Set(['length', 'angle', 'value']);

/** What was measured, by the names above. */
export type Stats = Record<string, unknown>;

interface Measured {
  cachedStats?: Record<string, Stats | undefined>;
}

/** Writes the lines of what a tool draws on a scene: in its units, and with where its millimetres hold. */
export function linesOf(
  scene: Scene,
  tool: string
): (data: Measured, targets: string | readonly string[]) => string[] {
  return (data, targets) => measured(scene, tool, data.cachedStats?.[[targets].flat()[0]!] ?? {});
}

/** What a tool has measured on a scene, in words. */
export function measured(scene: Scene, tool: string, stats: Stats): string[] {
  const where = placeOf(scene.spacing_holds);
  const units = {
    mm: scene.pixel_spacing === null ? 'px' : `mm ${where}`,
    'mm²': scene.pixel_spacing === null ? 'px²' : `mm² ${where}`,
    '°': '°',
    value: scene.unit
  };
  const there = MEASURES.filter(([key]) => Number.isFinite(stats[key]));
  return there.map(([key, name, unit]) => {
    const value = stats[key] as number;
    const said = tool === 'cobb' ? Math.min(value, 180 - value) : value; // lines have no direction
    const words = `${utilities.roundNumber(said)} ${units[unit]}`.trim();
    return there.length === 1 && CLEAR.has(key) ? words : `${trans.__(name)}: ${words}`;
  });
}

/** Where millimetres hold, as far as it is not the patient; the scale bar says by which attribute. */
function placeOf(holds: string): string {
  const places: Record<string, string> = {
    'at the detector': trans.__('at the detector'),
    'at the detector or calibrated': trans.__('at the detector or calibrated')
  };
  return places[holds.split(',')[0]!] ?? '';
}
