/** The bar that says how long things are on an image. */

/** How much of an image it takes at most. */
const SHARE = 0.25;

/** The longest bar of 1, 2 or 5 times a power of ten that an image has room for. */
export function barOf(millimetresPerPixel: number, width: number): { millimetres: number; pixels: number } {
  const room = millimetresPerPixel * width * SHARE;
  const power = 10 ** Math.floor(Math.log10(room));
  const millimetres = power * (room >= 5 * power ? 5 : room >= 2 * power ? 2 : 1);
  return { millimetres, pixels: millimetres / millimetresPerPixel };
}

/** A length as people say it. */
export function lengthWords(millimetres: number): string {
  const [value, unit] =
    millimetres >= 10
      ? [millimetres / 10, 'cm']
      : millimetres >= 0.1
        ? [millimetres, 'mm']
        : [millimetres * 1000, 'µm'];
  return `${Number(value.toPrecision(3))} ${unit}`;
}
