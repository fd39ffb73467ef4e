/** Drawings on buttons: lines on 16 × 16 pixels in the colour of the text. */

const SVG = 'http://www.w3.org/2000/svg';

/** A frame of which the corners are left, a round one, and what comes into it. */
const CORNERS = 'M2 5V2h3M11 2h3v3M14 11v3h-3M5 14H2v-3';
const ARCS =
  'M3.4 5A5.6 5.6 0 0 1 6 2.8M10 2.8A5.6 5.6 0 0 1 12.6 5M12.6 11A5.6 5.6 0 0 1 10 13.2M6 13.2A5.6 5.6 0 0 1 3.4 11';
const PLUS = 'M8 5.5v5M5.5 8h5';
const MINUS = 'M5.5 8h5';

const DRAWINGS: Record<string, string> = {
  window: 'M8 2a6 6 0 1 0 0 12A6 6 0 0 0 8 2zM8 2v12M10 2.5v11M12 3.6v8.8',
  scroll: 'M2 5l6-3 6 3-6 3zM2 8l6 3 6-3M2 11l6 3 6-3',
  pan: 'M8 1.5v13M1.5 8h13M6 3.5l2-2 2 2M6 12.5l2 2 2-2M3.5 6l-2 2 2 2M12.5 6l2 2-2 2',
  zoom: 'M6.5 2a4.5 4.5 0 1 0 0 9 4.5 4.5 0 0 0 0-9zM10 10l4 4M4.5 6.5h4M6.5 4.5v4',
  crosshairs: 'M8 1v5M8 10v5M1 8h5M10 8h5M8 8h.01',
  length: 'M3 13L13 3M1.5 11.5l3 3M11.5 1.5l3 3',
  bidirectional: 'M2 14L14 2M5.5 5.5l5 5M1 13l2 2M13 1l2 2',
  angle: 'M12 2L3 13h11M8.5 13a5.5 5.5 0 0 0-2-4.2',
  cobb: 'M2 5l12-3M2 11l12 3M8 5.5V7M8 8.2v1.5M8 11v.8',
  probe: 'M2.5 13.5L3 11l6-6 2 2-6 6zM8 4l4 4M11 5l2.5-2.5',
  ellipse: 'M8 4c3.6 0 6.5 1.8 6.5 4s-2.9 4-6.5 4-6.5-1.8-6.5-4S4.4 4 8 4z',
  circle: 'M8 2a6 6 0 1 0 0 12A6 6 0 0 0 8 2zM8 8h6M8 8h.01',
  rectangle: 'M2 4h12v8H2z',
  freehand: 'M4 5c2-3 5 0 7-1s4 3 2 5-1 4-4 4-3-1-5-1-3-2-2-4 1-2 2-3z',
  spline: 'M1 11h2.5v2.5H1zM12.5 2.5H15V5h-2.5zM3.5 11.5C6 3 10 13 12.5 5',
  livewire: 'M3.5 2v6a4.5 4.5 0 0 0 9 0V2h-3v6a1.5 1.5 0 0 1-3 0V2zM3.5 5h3M9.5 5h3',
  arrow: 'M14 2L6.5 9.5M6.5 5v4.5H11M2 13.5h9',
  brush: 'M14 2L8 8M6.5 7.5l2 2c.5 3-3 4.5-7 4 2-1 1.5-2.5 2-4 .5-1.6 2-2.5 3-2z',
  eraser: 'M6 13l-4-4 7-7 5 5-6 6zM5 6l5 5M8 13h6',
  threshold: 'M1.5 13C5 13 5 4 8 4s3 9 6.5 9M5.5 2v12M10.5 2v12',
  scissors: `${CORNERS}${PLUS}`,
  'round scissors': `${ARCS}${PLUS}`,
  'cut away': `${CORNERS}${MINUS}`,
  fill: 'M7 2l6 6-5.5 5L2 7.5zM2 7.5h11M14.5 11c.8 1.5.8 2.5 0 2.5s-.8-1 0-2.5z',
  region: 'M8 6.5v3M6.5 8h3M5 3c2-2 4 0 6 0s3 3 2 5 1 5-2 5-3 1-5 1-4-2-3-4-1-3 0-5 1-1 2-2z',
  between: 'M2 4l6-2.5L14 4 8 6.5zM2 12l6-2.5 6 2.5-6 2.5zM5 6.5v2.5M11 6.5v2.5M8 7.5v1',
  invert: 'M2.5 2.5h11v11h-11zM2.5 13.5l11-11M6 13.5L13.5 6M9.5 13.5l4-4',
  turn: 'M13.5 8A5.5 5.5 0 1 1 11.7 4M12 1v3.5H8.5',
  'flip left and right': 'M8 2v12M6 5l-4.5 6.5H6zM10 5l4.5 6.5H10z',
  'flip top and bottom': 'M2 8h12M5 6l6.5-4.5V6zM5 10l6.5 4.5V10z',
  'whole image': 'M2 5.5V2h3.5M10.5 2H14v3.5M14 10.5V14h-3.5M5.5 14H2v-3.5M5.5 5.5h5v5h-5z',
  undo: 'M3 6h7a4 4 0 0 1 0 8H6M6 3L3 6l3 3',
  redo: 'M13 6H6a4 4 0 0 0 0 8h4M10 3l3 3-3 3',
  play: 'M4.5 2.5v11l9-5.5z',
  keys: 'M1.5 4h13v8.5h-13zM4 6.5h.01M6.5 6.5h.01M9 6.5h.01M11.5 6.5h.01M5 10h6',
  find: 'M6.5 2a4.5 4.5 0 1 0 0 9 4.5 4.5 0 0 0 0-9zM10 10l4 4',
  remove: 'M4 4l8 8M12 4l-8 8',
  add: 'M8 3v10M3 8h10'
};

/** A drawing by the name of what its button does. */
export function icon(name: string): SVGSVGElement {
  const drawing = document.createElementNS(SVG, 'svg');
  const lines = document.createElementNS(SVG, 'path');
  drawing.setAttribute('viewBox', '0 0 16 16');
  drawing.setAttribute('class', 'wb-icon');
  drawing.setAttribute('aria-hidden', 'true');
  lines.setAttribute('d', DRAWINGS[name] ?? '');
  drawing.append(lines);
  return drawing;
}
