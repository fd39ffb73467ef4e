import { ServerConnection } from '@jupyterlab/services';
import type { Model } from './model';
import { Line, unpacked } from './packing';
import { ARRAYS, planeBytes, type Scene } from './scene';
import { trans } from './words';

/** Where planes come from. */
export interface Source {
  /** Names the array among all that a page shows. */
  readonly id: string;
  readonly scene: Scene;
  plane(index: readonly number[], signal: AbortSignal): Promise<ArrayBuffer>;
  /** How many milliseconds a plane takes to come, as far as that is known. */
  readonly milliseconds?: number;
  /** One of `step` rows and columns of a plane (`workbench/server/coarse.py`). */
  coarse?(index: readonly number[], step: number, signal: AbortSignal): Promise<ArrayBuffer>;
  /** Hear that the kernel has ended. */
  ended?(): void;
}

/** That to the server, which all viewers of a page share. */
const line = new Line();

/** Planes from the Jupyter server: also while the kernel is at work. */
export class ServerSource implements Source {
  constructor(
    readonly id: string,
    readonly scene: Scene,
    private readonly settings: ServerConnection.ISettings
  ) {}

  get milliseconds(): number {
    return line.takes(planeBytes(this.scene));
  }

  plane(index: readonly number[], signal: AbortSignal): Promise<ArrayBuffer> {
    return this.ask(index, {}, signal).catch(orGivenUp(signal));
  }

  coarse(index: readonly number[], step: number, signal: AbortSignal): Promise<ArrayBuffer> {
    return this.ask(index, { coarse: String(step) }, signal).catch(orGivenUp(signal));
  }

  private async ask(
    index: readonly number[],
    wishes: Record<string, string>,
    signal: AbortSignal
  ): Promise<ArrayBuffer> {
    const itemsize = ARRAYS[this.scene.dtype].BYTES_PER_ELEMENT;
    const isPacked = line.isSlow;
    const query = new URLSearchParams(isPacked ? { ...wishes, packed: String(itemsize) } : wishes).toString();
    const plane = `${this.settings.baseUrl}workbench/arrays/${this.id}/planes/${index.join('.')}`;
    const url = query === '' ? plane : `${plane}?${query}`;
    const request = ServerConnection.makeRequest(url, { signal, cache: 'default' }, this.settings);
    const response = await request.catch(() => {
      throw new Error(trans.__('the Jupyter server does not answer'));
    });
    if (!response.ok) {
      throw new Error(trans.__('the Jupyter server gives no plane (%1)', response.status));
    }
    const started = performance.now();
    const buffer = await response.arrayBuffer();
    line.took(buffer.byteLength, performance.now() - started);
    return isPacked ? unpacked(buffer, itemsize) : buffer;
  }
}

/** Throws what went wrong, or that a plane was given up: JupyterLab has another name for that. */
function orGivenUp(signal: AbortSignal): (error: Error) => never {
  return error => {
    throw signal.aborted ? givenUp() : error;
  };
}

function givenUp(): DOMException {
  return new DOMException('nobody waits for it any more', 'AbortError');
}

/** Of questions to kernels: several sources may ask by one model. */
let last = 0;

/** Planes from the kernel, by messages: of what lies in its memory alone. */
export class KernelSource implements Source {
  private readonly waiting = new Map<number, PromiseWithResolvers>();
  private isGone = false;

  constructor(
    readonly id: string,
    readonly scene: Scene,
    private readonly model: Model,
    /** What is laid over the images, by its `uid`; empty for the images themselves. */
    private readonly overlay = ''
  ) {
    model.on('msg:custom', this.received);
  }

  /** The kernel has ended: nobody waits for it any more. */
  ended(): void {
    this.isGone = true;
    this.waiting.forEach(each => each.reject(new Error(trans.__('the kernel has ended'))));
    this.waiting.clear();
  }

  plane(index: readonly number[], signal: AbortSignal): Promise<ArrayBuffer> {
    const id = ++last;
    return new Promise<ArrayBuffer>((resolve, reject) => {
      if (this.isGone) {
        throw new Error(trans.__('the kernel has ended'));
      }
      this.waiting.set(id, { resolve, reject });
      signal.addEventListener('abort', () => {
        this.waiting.delete(id);
        reject(givenUp());
      });
      this.model.send({ kind: 'plane', id, index, overlay: this.overlay });
    });
  }

  dispose(): void {
    this.model.off('msg:custom', this.received);
  }

  private readonly received = (content: unknown, buffers: DataView[]): void => {
    const { kind, id, error } = content as { kind?: string; id?: number; error?: string };
    const waiting = kind === 'plane' && id !== undefined ? this.waiting.get(id) : undefined;
    if (waiting === undefined) {
      return;
    }
    this.waiting.delete(id!);
    const [buffer] = buffers;
    if (buffer === undefined) {
      waiting.reject(new Error(error ?? trans.__('the kernel gives no plane')));
    } else {
      waiting.resolve(
        buffer.buffer.slice(buffer.byteOffset, buffer.byteOffset + buffer.byteLength) as ArrayBuffer
      );
    }
  };
}

interface PromiseWithResolvers {
  resolve(value: ArrayBuffer): void;
  reject(reason: Error): void;
}
