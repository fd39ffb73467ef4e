/** An array as the viewer needs to know it: the JSON of `pipelines.presentation.scene.Scene`. */
export interface Scene {
  axes: Axis[];
  rows: number;
  columns: number;
  samples: 1 | 3;
  dtype: keyof typeof ARRAYS;
  modality: string;
  unit: string;
  /** LPS mm of the first pixel of each plane along the last axis. */
  positions_lps_mm: [number, number, number][];
  orientation: number[];
  /** Between rows, then between columns, mm. */
  pixel_spacing: [number, number] | null;
  spacing_holds: string;
  frame_of_reference_uid: string;
  series_instance_uid: string;
  sop_instance_uids: string[];
  is_volume: boolean;
  windows: Window[];
  is_inverted: boolean;
  seconds: number[];
}

export interface Axis {
  name: string;
  size: number;
  unit: string;
  values: (number | string)[];
}

/** A linear window in modality values (PS3.3 C.11.2.1.2). */
export interface Window {
  /** What is shown from one end to the other, 0 to 1; empty where that is linear. */
  curve: number[];
  center: number;
  width: number;
  name: string;
}

export const ARRAYS = {
  uint8: Uint8Array,
  int16: Int16Array,
  uint16: Uint16Array,
  float32: Float32Array
} as const;

export type Values = Uint8Array | Int16Array | Uint16Array | Float32Array;

/** How much wider a window is said to be than it is: whole numbers by PS3.3 C.11.2.1.2.1, fractions C.11.2.1.3.2. */
function beyond({ dtype }: Scene): number {
  return dtype === 'float32' ? 0 : 1;
}

/** The ends of a window: values that are black and white. */
export function range(scene: Scene, center: number, width: number): { lower: number; upper: number } {
  const [middle, half] = [center - beyond(scene) / 2, (width - beyond(scene)) / 2];
  return { lower: middle - half, upper: middle + half };
}

/** The window between two values; undoes `range`. */
export function windowOf(scene: Scene, lower: number, upper: number): { center: number; width: number } {
  return { center: (lower + upper + beyond(scene)) / 2, width: upper - lower + beyond(scene) };
}

/** How many planes lie along the last axis. */
export function planes(scene: Scene): number {
  return scene.axes[scene.axes.length - 1]?.size ?? 1;
}

/** Bytes of a plane. */
export function planeBytes({ rows, columns, samples, dtype }: Scene): number {
  return rows * columns * samples * ARRAYS[dtype].BYTES_PER_ELEMENT;
}

/** Directions of rows, of columns, and across the planes. */
export function axesOf({ orientation }: Scene): [number[], number[], number[]] {
  const [rows, columns] =
    orientation.length === 6
      ? [orientation.slice(0, 3), orientation.slice(3)]
      : [
          [1, 0, 0],
          [0, 1, 0]
        ];
  return [rows!, columns!, cross(rows!, columns!)];
}

/** Where the first pixel of a plane lies; all times of one place lie in it. */
export function originOf(scene: Scene, plane: number): [number, number, number] {
  return scene.positions_lps_mm[plane] ?? [0, 0, scene.axes.at(-1)?.name === 'time' ? 0 : plane];
}

/** From (column, row, plane) of a volume to LPS mm: 4 × 4. */
export function affineOf(scene: Scene): number[][] {
  const [rows, columns, normal] = axesOf(scene);
  const [between, beside] = scene.pixel_spacing ?? [1, 1];
  const last = planes(scene) - 1;
  const [start, end] = [originOf(scene, 0), originOf(scene, last)];
  const across = last > 0 ? end.map((each, axis) => (each - start[axis]!) / last) : normal;
  const row = (axis: number): number[] => [
    rows[axis]! * beside,
    columns[axis]! * between,
    across[axis]!,
    start[axis]!
  ];
  return [row(0), row(1), row(2), [0, 0, 0, 1]];
}

/** Where the middle of a plane lies. */
export function middleOf(scene: Scene, plane: number): [number, number, number] {
  const [rows, columns] = axesOf(scene);
  const [between, beside] = scene.pixel_spacing ?? [1, 1];
  const [right, down] = [((scene.columns - 1) / 2) * beside, ((scene.rows - 1) / 2) * between];
  const [x, y, z] = originOf(scene, plane).map(
    (each, axis) => each + right * rows[axis]! + down * columns[axis]!
  );
  return [x!, y!, z!];
}

const LETTERS: [string, string][] = [
  ['L', 'R'],
  ['P', 'A'],
  ['H', 'F']
];

/** Letters of a direction in the patient, the strongest first: `L`, `PL`, `HPL` (PS3.3 C.7.6.1.1.1). */
export function letters(direction: readonly number[]): string {
  return direction
    .map((part, axis) => ({ part, axis }))
    .filter(({ part }) => Math.abs(part) > 0.2)
    .sort((one, other) => Math.abs(other.part) - Math.abs(one.part))
    .map(({ part, axis }) => LETTERS[axis]![part > 0 ? 0 : 1])
    .join('');
}

export function cross(one: readonly number[], other: readonly number[]): number[] {
  const [a, b, c] = one as [number, number, number];
  const [x, y, z] = other as [number, number, number];
  return [b * z - c * y, c * x - a * z, a * y - b * x];
}

export function dot(one: readonly number[], other: readonly number[]): number {
  return one[0]! * other[0]! + one[1]! * other[1]! + one[2]! * other[2]!;
}
