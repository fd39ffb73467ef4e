import { cache, volumeLoader, type Types } from '@cornerstonejs/core';
import { applied, stepsOf } from './sampling';
import { affineOf, ARRAYS, type Scene, type Values } from './scene';

/** A volume for three dimensions where there is no graphics card: all of its voxels take a program half a minute. */

/** Voxels along its longest side at most. */
const SIDE = 96;
/** Before the name of a volume; of images named so the engine asks nobody. */
export const DERIVED = 'derived:';
/** Voxels between looks along a ray. */
export const STEP = 2;

/** Make a coarser copy of a volume, of every so manieth voxel, and put it into the cache; returns its name. */
export function coarser(volumeId: string, scene: Scene, planes: readonly Values[]): string {
  const name = `${DERIVED}${volumeId}`;
  if (cache.getVolume(name) !== undefined) {
    return name;
  }
  const sizes = [scene.columns, scene.rows, planes.length];
  const strides = sizes.map(each => Math.ceil(each / SIDE));
  const firsts = strides.map(each => each >> 1);
  const [columns, rows, depth] = sizes.map((each, axis) =>
    Math.ceil((each - firsts[axis]!) / strides[axis]!)
  ) as [number, number, number];
  const scalarData = new ARRAYS[scene.dtype](columns * rows * depth);
  let at = 0;
  for (let plane = firsts[2]!; plane < sizes[2]!; plane += strides[2]!) {
    for (let row = firsts[1]!; row < sizes[1]!; row += strides[1]!) {
      for (let column = firsts[0]!; column < sizes[0]!; column += strides[0]!) {
        scalarData[at++] = planes[plane]![row * scene.columns + column]!;
      }
    }
  }
  const affine = affineOf(scene);
  const lengths = stepsOf(affine);
  const volume = volumeLoader.createLocalVolume(name, {
    scalarData,
    metadata: cache.getVolume(volumeId)!.metadata,
    dimensions: [columns, rows, depth],
    spacing: lengths.map((each, axis) => each * strides[axis]!) as Types.Point3,
    origin: applied(affine, firsts) as Types.Point3,
    direction: [0, 1, 2].flatMap(axis =>
      [0, 1, 2].map(row => affine[row]![axis]! / lengths[axis]!)
    ) as Types.Mat3
  });
  volume.modified(); // as of every volume: else it is black the first time
  return name;
}
