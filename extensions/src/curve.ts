import type { Types } from '@cornerstonejs/core';
import type vtkColorTransferFunction from '@kitware/vtk.js/Rendering/Core/ColorTransferFunction';

/**
 * Show values along a curve, evenly from one end of a window to the other; an empty one is linear.
 *
 * Cornerstone stretches what is set here when a window changes, so that the curve stays when people drag.
 */
export function shape(
  viewport: { getDefaultActor(): Types.ActorEntry | undefined },
  curve: readonly number[],
  { voiRange, invert }: { voiRange: { lower: number; upper: number }; invert: boolean }
): void {
  const actor = viewport.getDefaultActor()?.actor as Types.VolumeActor | undefined;
  const shades: vtkColorTransferFunction | undefined = actor?.getProperty?.().getRGBTransferFunction(0);
  if (shades === undefined || shades === null) {
    return; // drawn without WebGL
  }
  const points = curve.length > 1 ? curve : [0, 1];
  const { lower, upper } = voiRange;
  shades.removeAllPoints();
  points.forEach((point, at) => {
    const shade = invert ? 1 - point : point;
    shades.addRGBPoint(lower + ((upper - lower) * at) / (points.length - 1), shade, shade, shade);
  });
}
