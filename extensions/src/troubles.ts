import type { Kernel } from '@jupyterlab/services';
import { make } from './elements';
import type { Model } from './model';

/** What keeps a viewer from doing all that it can, said over the images for as long as it does. */
export class Troubles {
  readonly root = make('ul', 'wb-troubles', { role: 'alert' });
  private readonly held = new Map<string, string>();

  /** Say one, or that it is over. */
  tell(name: string, text: string | undefined): void {
    if (text === undefined) {
      this.held.delete(name);
    } else {
      this.held.set(name, text);
    }
    this.root.replaceChildren(
      ...[...this.held.values()].map(each => {
        const line = make('li', 'wb-trouble');
        line.textContent = each;
        return line;
      })
    );
  }

  has(name: string): boolean {
    return this.held.has(name);
  }
}

/** What a kernel says of itself when it is no more the one that a viewer knows. */
const ENDS: readonly Kernel.Status[] = ['restarting', 'autorestarting', 'terminating', 'dead'];

/** Hear that the kernel of a model has ended, or begun anew. */
export function onKernelEnd(model: Model, ended: () => void, until: AbortSignal): void {
  const kernel = model.widget_manager?.kernel;
  const heard = (_: unknown, status: Kernel.Status): void => {
    if (ENDS.includes(status)) {
      ended();
    }
  };
  kernel?.statusChanged.connect(heard);
  kernel?.disposed.connect(ended);
  until.addEventListener('abort', () => {
    kernel?.statusChanged.disconnect(heard);
    kernel?.disposed.disconnect(ended);
  });
}
