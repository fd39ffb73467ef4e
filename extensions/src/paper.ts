import { number } from './elements';
import type { Annotation, Channel, Piece, Strips } from './traces';

/** Strips drawn on millimetre paper. */

export const PX_PER_MM = 96 / 25.4;
/** Before the curves: where the calibration pulse stands. */
export const PULSE_MM = 9;
/** Above the strips: words of annotations; below them: the time. */
export const HEAD_MM = 12;
export const FOOT_MM = 6;
const PULSE_S = 0.2;
const WORDS_PX = 11;
const ROWS = 3;
/** Of the time axis, s. */
const TICKS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300, 600, 1800, 3600, 7200, 14_400];
const TICK_PX = 60;

export interface Sheet {
  strips: Strips;
  /** Time at the left edge of the curves, s. */
  start: number;
  speed: number;
  gain: number;
  /** Of the whole, in pixels of the page. */
  width: number;
  colours: Colours;
}

export interface Colours {
  paper: string;
  fine: string;
  coarse: string;
  ink: string;
  mark: string;
}

export function height(strips: Strips): number {
  return (HEAD_MM + FOOT_MM + strips.band_mm * strips.channels.length) * PX_PER_MM;
}

/** Seconds that are seen at once. */
export function seconds({ width, speed }: Pick<Sheet, 'width' | 'speed'>): number {
  return Math.max(1, width - PULSE_MM * PX_PER_MM) / (speed * PX_PER_MM);
}

/** Pixels from the left of a time. */
export function x(sheet: Sheet, time: number): number {
  return (PULSE_MM + (time - sheet.start) * sheet.speed) * PX_PER_MM;
}

/** Pixels from the top of a value. */
export function y(sheet: Sheet, channel: number, value: number): number {
  const { strips, gain } = sheet;
  const { per_mm, center } = strips.channels[channel]!;
  const middle = HEAD_MM + strips.band_mm * (channel + 0.5);
  return (middle - (((value - center) / per_mm) * gain) / strips.paper.mm_per_mv) * PX_PER_MM;
}

/** How far a unit goes, in words: `10 mm/mV`. */
export function scale(channel: Channel, strips: Strips, gain: number): string {
  if (channel.is_voltage) {
    return `${number(gain)} mm/mV`;
  }
  return `${number(gain / strips.paper.mm_per_mv / channel.per_mm)} mm/${channel.unit || '1'}`;
}

export function draw(context: CanvasRenderingContext2D, sheet: Sheet, pieces: readonly Piece[]): void {
  const { strips, width, colours } = sheet;
  const tall = height(strips);
  context.fillStyle = colours.paper;
  context.fillRect(0, 0, width, tall);
  grid(context, width, tall, colours);
  annotations(context, sheet, tall);
  axis(context, sheet, tall);
  context.lineJoin = 'round';
  context.strokeStyle = colours.ink;
  context.lineWidth = 1.2;
  for (let channel = 0; channel < strips.channels.length; channel += 1) {
    if (strips.channels[channel]!.is_voltage) {
      pulse(context, sheet, channel);
    }
    context.save();
    context.beginPath();
    context.rect(PULSE_MM * PX_PER_MM, 0, width, tall);
    context.clip();
    curve(context, sheet, channel, pieces);
    context.restore();
    name(context, sheet, channel);
  }
}

function grid(context: CanvasRenderingContext2D, width: number, tall: number, colours: Colours): void {
  for (const [millimetres, colour, thick] of [
    [1, colours.fine, 0.5],
    [5, colours.coarse, 0.8]
  ] as const) {
    context.strokeStyle = colour;
    context.lineWidth = thick;
    context.beginPath();
    for (let at = 0; at * PX_PER_MM <= width; at += millimetres) {
      context.moveTo(at * PX_PER_MM, 0);
      context.lineTo(at * PX_PER_MM, tall);
    }
    for (let at = 0; at * PX_PER_MM <= tall; at += millimetres) {
      context.moveTo(0, at * PX_PER_MM);
      context.lineTo(width, at * PX_PER_MM);
    }
    context.stroke();
  }
}

/** A millivolt for a fifth of a second. */
function pulse(context: CanvasRenderingContext2D, sheet: Sheet, channel: number): void {
  const { strips, gain, speed } = sheet;
  const foot = (HEAD_MM + strips.band_mm * (channel + 0.5)) * PX_PER_MM;
  const top = foot - Math.min(gain, strips.band_mm) * PX_PER_MM;
  const wide = Math.min(PULSE_S * speed, PULSE_MM - 3) * PX_PER_MM;
  const left = PX_PER_MM;
  context.beginPath();
  context.moveTo(left, foot);
  for (const [across, down] of [
    [left + PX_PER_MM, foot],
    [left + PX_PER_MM, top],
    [left + PX_PER_MM + wide, top],
    [left + PX_PER_MM + wide, foot],
    [left + 2 * PX_PER_MM + wide, foot]
  ] as const) {
    context.lineTo(across, down);
  }
  context.stroke();
}

/** From the least to the greatest of each column; what is no number is a gap. */
function curve(
  context: CanvasRenderingContext2D,
  sheet: Sheet,
  channel: number,
  pieces: readonly Piece[]
): void {
  context.beginPath();
  let isDown = false;
  let end = Number.NaN;
  for (const { columns, lows, highs, start, step } of pieces) {
    isDown = isDown && Math.abs(start - end) < step / 2;
    end = start + columns * step;
    for (let column = 0; column < columns; column += 1) {
      const low = lows[channel * columns + column]!;
      const high = highs[channel * columns + column]!;
      if (Number.isNaN(low)) {
        isDown = false;
        continue;
      }
      const across = x(sheet, start + column * step);
      if (isDown) {
        context.lineTo(across, y(sheet, channel, low));
      } else {
        context.moveTo(across, y(sheet, channel, low));
      }
      context.lineTo(across, y(sheet, channel, high));
      isDown = true;
    }
  }
  context.stroke();
}

function name(context: CanvasRenderingContext2D, sheet: Sheet, channel: number): void {
  const { strips, gain, colours } = sheet;
  const { name: text, is_voltage, center, unit } = strips.channels[channel]!;
  context.font = `${WORDS_PX}px sans-serif`;
  context.textAlign = 'left';
  context.textBaseline = 'top';
  const from = center === 0 ? '' : `, ${number(center)} ${unit} in the middle`;
  const words =
    is_voltage && channel > 0 && from === ''
      ? text
      : `${text}  ${scale(strips.channels[channel]!, strips, gain)}${from}`;
  const left = (PULSE_MM + 1) * PX_PER_MM;
  const top = (HEAD_MM + strips.band_mm * channel) * PX_PER_MM + 2;
  context.lineWidth = 3;
  context.strokeStyle = colours.paper;
  context.strokeText(words, left, top);
  context.fillStyle = colours.ink;
  context.fillText(words, left, top);
  context.lineWidth = 1.2;
  context.strokeStyle = colours.ink;
}

function axis(context: CanvasRenderingContext2D, sheet: Sheet, tall: number): void {
  const perTick = (tick: number): number => tick * sheet.speed * PX_PER_MM;
  const tick = TICKS.find(each => perTick(each) >= TICK_PX) ?? TICKS.at(-1)!;
  const last = Math.min(
    sheet.start + seconds(sheet),
    sheet.strips.start_s + sheet.strips.samples / sheet.strips.frequency_hz
  );
  context.font = `${WORDS_PX}px sans-serif`;
  context.textBaseline = 'bottom';
  context.textAlign = 'center';
  context.fillStyle = context.strokeStyle = sheet.colours.ink;
  context.lineWidth = 1;
  context.beginPath();
  for (let at = Math.ceil(sheet.start / tick - 1e-9); at * tick <= last + 1e-9; at += 1) {
    const across = x(sheet, at * tick);
    context.moveTo(across, tall - FOOT_MM * PX_PER_MM);
    context.lineTo(across, tall - FOOT_MM * PX_PER_MM + 5);
    context.fillText(clock(at * tick), across, tall - 1);
  }
  context.stroke();
}

/** `1.5 s`, or from a minute on `1:00:05`. */
export function clock(time: number): string {
  if (Math.abs(time) < 60) {
    return `${number(time)} s`;
  }
  const whole = Math.floor(time + 1e-9);
  const pad = (each: number): string => String(each).padStart(2, '0');
  const [hours, minutes, rest] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  return hours > 0 ? `${hours}:${pad(minutes)}:${pad(rest)}` : `${minutes}:${pad(rest)}`;
}

/** Annotations that lie between two times. */
export function within(all: readonly Annotation[], from: number, to: number): Annotation[] {
  return all.filter(
    ({ start_s, stop_s }) => start_s !== null && start_s <= to && (stop_s ?? start_s) >= from
  );
}

/** Lines at points and bands over stretches; words above where there is room for them. */
function annotations(context: CanvasRenderingContext2D, sheet: Sheet, tall: number): void {
  const { strips, colours } = sheet;
  const ends = new Array<number>(ROWS).fill(-Infinity);
  context.font = `${WORDS_PX}px sans-serif`;
  context.textAlign = 'left';
  context.textBaseline = 'top';
  for (const { text, start_s, stop_s, channels } of within(
    strips.annotations,
    sheet.start,
    sheet.start + seconds(sheet)
  )) {
    const left = Math.max(PULSE_MM * PX_PER_MM, x(sheet, start_s!));
    const right = x(sheet, stop_s ?? start_s!);
    const rows = channels.length > 0 ? channels : strips.channels.map((_, channel) => channel);
    const [first, last] = [Math.min(...rows), Math.max(...rows)];
    const isAll = channels.length === 0;
    const top = (HEAD_MM + strips.band_mm * first) * PX_PER_MM;
    const bottom = isAll ? tall - FOOT_MM * PX_PER_MM : (HEAD_MM + strips.band_mm * (last + 1)) * PX_PER_MM;
    context.strokeStyle = context.fillStyle = colours.mark;
    if (right > left) {
      context.globalAlpha = 0.15;
      context.fillRect(left, top, right - left, bottom - top);
      context.globalAlpha = 1;
    }
    const row = ends.findIndex(end => end < left);
    if (row >= 0) {
      context.fillText(text, left + 3, row * (WORDS_PX + 2) + 2);
      ends[row] = left + 3 + context.measureText(text).width + 4;
    }
    context.setLineDash([2, 4]);
    context.lineWidth = 1;
    context.beginPath();
    context.moveTo(left, row >= 0 ? row * (WORDS_PX + 2) : top);
    context.lineTo(left, bottom);
    context.stroke();
    context.setLineDash([]);
  }
}
