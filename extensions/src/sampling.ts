import { ARRAYS, type Scene, type Values } from './scene';

/** Values of an array between its voxels: where it lies in the patient is one matrix, and planes may be missing. */

/** 4 × 4, row by row; of an affine the last row is 0, 0, 0, 1. */
export type Matrix = readonly (readonly number[])[];

export interface Grid {
  /** From (column, row, plane) to LPS mm. */
  affine: Matrix;
  columns: number;
  rows: number;
  planes: number;
  /** Whether the nearest voxel counts, as labels have nothing between them. */
  isOfLabels: boolean;
}

/** Planes by their number; those that are not there yet are `undefined`. */
export type Planes = readonly (Values | undefined)[];

/** A point, and the steps to the next one across and down: of an image in LPS mm, or in indices of a grid. */
export interface Raster {
  start: readonly number[];
  across: readonly number[];
  down: readonly number[];
}

export function gridOf(scene: Scene, affine: Matrix, isOfLabels: boolean): Grid {
  const planes = scene.axes[scene.axes.length - 1]?.size ?? 1;
  return { affine, columns: scene.columns, rows: scene.rows, planes, isOfLabels };
}

/** How long the steps of an affine are: mm between columns, between rows, between planes. */
export function stepsOf(affine: Matrix): number[] {
  return [0, 1, 2].map(axis => Math.hypot(...[0, 1, 2].map(row => affine[row]![axis]!)));
}

/** Undo an affine; `Error` where that cannot be. */
export function inverse(affine: Matrix): number[][] {
  const [a, b, c, x] = affine[0] as [number, number, number, number];
  const [d, e, f, y] = affine[1] as [number, number, number, number];
  const [g, h, i, z] = affine[2] as [number, number, number, number];
  const determinant = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g);
  if (!(Math.abs(determinant) > 1e-12)) {
    throw new Error('a grid without volume has no place');
  }
  const rows = [
    [e * i - f * h, c * h - b * i, b * f - c * e],
    [f * g - d * i, a * i - c * g, c * d - a * f],
    [d * h - e * g, b * g - a * h, a * e - b * d]
  ].map(row => row.map(each => each / determinant));
  return [...rows.map(row => [...row, -(row[0]! * x + row[1]! * y + row[2]! * z)]), [0, 0, 0, 1]];
}

export function applied(matrix: Matrix, point: readonly number[]): number[] {
  return [0, 1, 2].map(
    row =>
      matrix[row]![0]! * point[0]! +
      matrix[row]![1]! * point[1]! +
      matrix[row]![2]! * point[2]! +
      matrix[row]![3]!
  );
}

/** The raster in indices (column, row, plane) of a grid. */
export function inGrid(grid: Grid, raster: Raster): Raster {
  const undo = inverse(grid.affine);
  const start = applied(undo, raster.start);
  const step = (to: readonly number[]): number[] =>
    applied(
      undo,
      to.map((each, axis) => raster.start[axis]! + each)
    ).map((each, axis) => each - start[axis]!);
  return { start, across: step(raster.across), down: step(raster.down) };
}

/** Numbers of the planes that values on a raster (in indices) of so many points hang on. */
export function needed(grid: Grid, raster: Raster, width: number, height: number): number[] {
  const ends = [0, width - 1].flatMap(x =>
    [0, height - 1].map(y => raster.start[2]! + x * raster.across[2]! + y * raster.down[2]!)
  );
  const [low, high] = [Math.min(...ends), Math.max(...ends)];
  if (high < -0.5 || low >= grid.planes - 0.5) {
    return [];
  }
  const within = (plane: number): number => Math.min(grid.planes - 1, Math.max(0, plane));
  const [first, last] = grid.isOfLabels
    ? [Math.floor(low - NEARER + 0.5), Math.floor(high + NEARER + 0.5)]
    : [Math.floor(snapped(low, NEARER)), Math.ceil(snapped(high, NEARER))];
  return Array.from({ length: within(last) - within(first) + 1 }, (_, at) => within(first) + at);
}

/** Indices so near to a whole number are there: adding up steps does not lead to another plane. */
const NEAR = 1e-6;
/** Nearer than that, so that whatever `needed` leaves out `valueAt` does not ask for. */
const NEARER = 1e-7;

function snapped(index: number, near: number): number {
  const whole = Math.round(index);
  return Math.abs(index - whole) <= near ? whole : index;
}

/**
 * Value at (column, row, plane), between voxels linearly; a voxel reaches half way to the next, and beyond the
 * last centres values are those there. `NaN` outside, and where a plane is not there yet.
 */
export function valueAt(grid: Grid, planes: Planes, column: number, row: number, plane: number): number {
  const { columns, rows, planes: count } = grid;
  if (!(
    column >= -0.5 &&
    column < columns - 0.5 &&
    row >= -0.5 &&
    row < rows - 0.5 &&
    plane >= -0.5 &&
    plane < count - 0.5
  )) {
    return NaN;
  }
  if (grid.isOfLabels) {
    const values = planes[Math.floor(plane + 0.5)];
    return values === undefined ? NaN : values[Math.floor(row + 0.5) * columns + Math.floor(column + 0.5)]!;
  }
  const x = column < 0 ? 0 : column > columns - 1 ? columns - 1 : column;
  const y = row < 0 ? 0 : row > rows - 1 ? rows - 1 : row;
  const z = snapped(plane < 0 ? 0 : plane > count - 1 ? count - 1 : plane, NEAR);
  const below = Math.floor(z);
  const part = z - below;
  const low = between(planes[below], columns, rows, x, y);
  return part === 0 ? low : low + part * (between(planes[below + 1], columns, rows, x, y) - low);
}

function between(values: Values | undefined, columns: number, rows: number, x: number, y: number): number {
  if (values === undefined) {
    return NaN;
  }
  const [left, top] = [Math.floor(x), Math.floor(y)];
  const [right, bottom] = [Math.min(left + 1, columns - 1), Math.min(top + 1, rows - 1)];
  const part = x - left;
  const above = values[top * columns + left]! * (1 - part) + values[top * columns + right]! * part;
  const under = values[bottom * columns + left]! * (1 - part) + values[bottom * columns + right]! * part;
  return above + (y - top) * (under - above);
}

/** Values on a raster (in indices), row by row. */
export function sampled(
  grid: Grid,
  planes: Planes,
  { start, across, down }: Raster,
  width: number,
  height: number
): Float32Array {
  const out = new ARRAYS.float32(width * height);
  for (let y = 0, at = 0; y < height; y += 1) {
    let column = start[0]! + y * down[0]!;
    let row = start[1]! + y * down[1]!;
    let plane = start[2]! + y * down[2]!;
    for (let x = 0; x < width; x += 1, at += 1) {
      out[at] = valueAt(grid, planes, column, row, plane);
      column += across[0]!;
      row += across[1]!;
      plane += across[2]!;
    }
  }
  return out;
}
