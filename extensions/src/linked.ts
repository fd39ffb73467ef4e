import { make } from './elements';
import type { Model } from './model';
import { trans } from './words';

/** Below the images: by what another viewer shows the same place, as no picture tells whether it is the same. */
export class Linked {
  readonly root = make('div', 'wb-linked', { role: 'note' });

  constructor(
    private readonly model: Model,
    signal: AbortSignal
  ) {
    const changed = (): void => this.refresh();
    model.on('change:linked', changed);
    signal.addEventListener('abort', () => model.off('change:linked', changed));
    this.refresh();
  }

  private refresh(): void {
    const by = this.model.get('linked') as string;
    this.root.hidden = by === '';
    this.root.textContent = wordsOf(by);
  }
}

/** What `by` of a link means (`workbench/widgets/links.py`). */
function wordsOf(by: string): string {
  switch (by) {
    case 'frame of reference':
      return trans.__('linked: both lie in one frame of reference');
    case 'transform':
      return trans.__('linked by a transform that was given');
    case 'offset':
      return trans.__('linked, but not registered: both go the same way in millimetres');
    case 'number':
      return trans.__('linked, but not registered: both go the same number of planes');
    default:
      return trans.__('linked by %1', by);
  }
}
