import { ServerConnection } from '@jupyterlab/services';
import type { Model } from './model';

/** Curves of a waveform in tiles: the least and the greatest value of each column, as the kernel has them. */

/** A waveform as strips need to know it: the JSON of `pipelines.presentation.strips.Strips`. */
export interface Strips {
  channels: Channel[];
  start_s: number;
  frequency_hz: number;
  samples: number;
  paper: { mm_per_s: number; mm_per_mv: number };
  band_mm: number;
  label: string;
  annotations: Annotation[];
  note: string;
  tile_columns: number;
  tile_samples: number;
}

export interface Channel {
  name: string;
  unit: string;
  is_voltage: boolean;
  /** Of the unit, on paper as `Strips.paper` has it. */
  per_mm: number;
  /** Value in the middle of the strip. */
  center: number;
}

export interface Annotation {
  text: string;
  start_s: number | null;
  stop_s: number | null;
  /** From 0; none for all of them. */
  channels: number[];
}

export interface Tile {
  columns: number;
  /** Channel by channel. */
  lows: Float32Array;
  highs: Float32Array;
}

const HIGHEST_LEVEL = 20;
const KEPT = 128;

/** Where tiles come from. */
export interface TileSource {
  tile(level: number, tile: number, signal: AbortSignal): Promise<ArrayBuffer>;
  dispose(): void;
}

/** From the Jupyter server: also while the kernel is at work. */
export class ServerTiles implements TileSource {
  constructor(
    private readonly key: string,
    private readonly settings: ServerConnection.ISettings
  ) {}

  async tile(level: number, tile: number, signal: AbortSignal): Promise<ArrayBuffer> {
    const url = `${this.settings.baseUrl}workbench/arrays/${this.key}/traces/${level}.${tile}`;
    const response = await ServerConnection.makeRequest(url, { signal, cache: 'default' }, this.settings);
    if (!response.ok) {
      throw new Error(`the Jupyter server gives no curve (${response.status})`);
    }
    return response.arrayBuffer();
  }

  dispose(): void {
    // requests end with their signals
  }
}

/** From the kernel, by messages: of what lies in its memory alone. */
export class KernelTiles implements TileSource {
  private readonly waiting = new Map<
    number,
    { resolve(value: ArrayBuffer): void; reject(reason: Error): void }
  >();
  private last = 0;

  constructor(private readonly model: Model) {
    model.on('msg:custom', this.received);
  }

  tile(level: number, tile: number, signal: AbortSignal): Promise<ArrayBuffer> {
    const id = ++this.last;
    return new Promise<ArrayBuffer>((resolve, reject) => {
      this.waiting.set(id, { resolve, reject });
      signal.addEventListener('abort', () => {
        this.waiting.delete(id);
        reject(new DOMException('nobody waits for it any more', 'AbortError'));
      });
      this.model.send({ kind: 'tile', id, level, tile });
    });
  }

  dispose(): void {
    this.model.off('msg:custom', this.received);
  }

  private readonly received = (content: unknown, buffers: DataView[]): void => {
    const { kind, id, error } = content as { kind?: string; id?: number; error?: string };
    const waiting = kind === 'tile' && id !== undefined ? this.waiting.get(id) : undefined;
    if (waiting === undefined) {
      return;
    }
    this.waiting.delete(id!);
    const [view] = buffers;
    if (view === undefined) {
      waiting.reject(new Error(error ?? 'the kernel gives no curve'));
    } else {
      waiting.resolve(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength) as ArrayBuffer);
    }
  };
}

/** Columns of one level that lie in a stretch of time. */
export interface Piece extends Tile {
  /** Time of the first column, and how long one is, s. */
  start: number;
  step: number;
}

/** Tiles that were read, as many as are bounded; what is not there yet is asked for. */
export class Traces {
  private readonly tiles = new Map<string, Tile>();
  private readonly asked = new Map<string, AbortController>();

  constructor(
    private readonly strips: Strips,
    private readonly source: TileSource,
    private readonly came: () => void,
    private readonly failed: (reason: Error) => void
  ) {}

  /** The level of which a column is at most so many seconds. */
  level(seconds: number): number {
    const samples = Math.max(1, seconds * this.strips.frequency_hz);
    return Math.min(HIGHEST_LEVEL, Math.floor(Math.log2(samples)));
  }

  /** What is there of a level between two times; the rest, and its neighbours, are asked for. */
  pieces(level: number, from: number, to: number): Piece[] {
    const { start_s, frequency_hz, samples, tile_columns, tile_samples } = this.strips;
    const step = 2 ** level;
    const length = Math.min(tile_columns * step, tile_samples);
    const last = Math.ceil(samples / length) - 1;
    const at = (time: number): number =>
      Math.min(last, Math.max(0, Math.floor(((time - start_s) * frequency_hz) / length)));
    const [first, end] = [at(from), at(to)];
    const wanted: number[] = [];
    for (let tile = first; tile <= end; tile += 1) {
      wanted.push(tile);
    }
    wanted.push(...[end + 1, first - 1].filter(tile => tile >= 0 && tile <= last));
    this.giveUp(new Set(wanted.map(tile => `${level}.${tile}`)));
    return wanted.flatMap(tile => {
      const found = this.tile(level, tile);
      const start = start_s + (tile * length) / frequency_hz;
      return found === undefined || tile < first || tile > end
        ? []
        : [{ ...found, start, step: step / frequency_hz }];
    });
  }

  /** Whether all that was asked for is there. */
  get isComplete(): boolean {
    return this.asked.size === 0;
  }

  dispose(): void {
    this.giveUp(new Set());
    this.source.dispose();
    this.tiles.clear();
  }

  private tile(level: number, tile: number): Tile | undefined {
    const key = `${level}.${tile}`;
    const found = this.tiles.get(key);
    if (found !== undefined) {
      this.tiles.delete(key); // the one used last is the last to go
      this.tiles.set(key, found);
      return found;
    }
    if (!this.asked.has(key)) {
      void this.ask(key, level, tile);
    }
    return undefined;
  }

  private async ask(key: string, level: number, tile: number): Promise<void> {
    const abort = new AbortController();
    this.asked.set(key, abort);
    try {
      const values = new Float32Array(await this.source.tile(level, tile, abort.signal));
      const half = values.length / 2;
      const columns = half / this.strips.channels.length;
      this.tiles.set(key, { columns, lows: values.subarray(0, half), highs: values.subarray(half) });
      for (const oldest of this.tiles.keys()) {
        if (this.tiles.size <= KEPT) {
          break;
        }
        this.tiles.delete(oldest);
      }
      this.asked.delete(key);
      this.came();
    } catch (error) {
      if (!abort.signal.aborted) {
        this.failed(error as Error); // it stays asked for: the same answer would come again
      }
    }
  }

  private giveUp(wanted: ReadonlySet<string>): void {
    for (const [key, abort] of this.asked) {
      if (!wanted.has(key)) {
        this.asked.delete(key);
        abort.abort();
      }
    }
  }
}
