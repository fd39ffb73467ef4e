import { inGrid, sampled, stepsOf, type Grid, type Planes, type Raster } from './sampling';
import { cross } from './scene';

/** Planes of a slab at most that are looked through. */
const MOST_PLANES = 100;

/** Through how much a section looks, and which of its values it shows; 0 mm is a plane. */
export interface Slab {
  millimetres: number;
  kind: 'average' | 'maximum' | 'minimum';
}

/** What a slab around a raster is looked through by: the values of each of its planes, together. */
const TOGETHER: Record<Slab['kind'], (one: number, other: number) => number> = {
  average: (one, other) => one + other,
  maximum: Math.max,
  minimum: Math.min
};

/** Values of each pixel of a raster, through a slab around it; not a number beyond the planes. */
export function throughSlab(
  grid: Grid,
  planes: Planes,
  raster: Raster,
  width: number,
  height: number,
  { millimetres, kind }: Slab
): Float32Array {
  const count = planesOf(grid, millimetres);
  const across = unit(cross(raster.across, raster.down));
  const at = (place: number): Float32Array => {
    const beside = count === 1 ? 0 : (place / (count - 1) - 0.5) * millimetres;
    const start = raster.start.map((each, axis) => each + beside * across[axis]!);
    return sampled(grid, planes, inGrid(grid, { ...raster, start }), width, height);
  };
  const whole = at(0);
  const together = TOGETHER[kind];
  const parts = kind === 'average' ? new Uint16Array(whole.length).fill(1) : undefined;
  for (let place = 1; place < count; place += 1) {
    at(place).forEach((value, pixel) => {
      if (!Number.isNaN(value)) {
        const there = whole[pixel]!;
        whole[pixel] = Number.isNaN(there) ? value : together(there, value);
        if (parts !== undefined && !Number.isNaN(there)) {
          parts[pixel]! += 1;
        }
      }
    });
  }
  return parts === undefined ? whole : whole.map((value, pixel) => value / parts[pixel]!);
}

/** Planes through a slab: twice as near to each other as voxels are, so that no voxel is passed by. */
function planesOf({ affine }: Grid, millimetres: number): number {
  const count = Math.ceil((2 * millimetres) / Math.min(...stepsOf(affine))) + 1;
  return millimetres > 0 ? Math.min(MOST_PLANES, Math.max(2, count)) : 1;
}

function unit(vector: readonly number[]): number[] {
  const length = Math.hypot(...vector);
  return vector.map(each => each / length);
}
