import { getRenderingCapabilities } from '@cornerstonejs/core';

/** Whether the browser has a graphics card, only acts as if it had, or had one. */

let isLost = false;

/** The graphics card was taken away. */
export function loseCard(): void {
  isLost = true;
}

/** Whether there is no graphics card, or what seems to be one is a program. */
export function hasNoCard(): boolean {
  return isLost || getRenderingCapabilities().softwareRasterizer;
}

/** Whether something can still be drawn in three dimensions. */
export function hasDepth(): boolean {
  return !isLost;
}
