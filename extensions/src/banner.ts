import { make } from './elements';
import type { Model } from './model';
import { trans } from './words';

/** Above the images: whose they are. What is said comes with the state, and is nowhere else in the page. */
export class Banner {
  readonly root = make('div', 'wb-banner', { role: 'group', 'aria-label': trans.__('Patient') });

  constructor(
    private readonly model: Model,
    signal: AbortSignal
  ) {
    const changed = (): void => this.refresh();
    model.on('change:banner', changed);
    signal.addEventListener('abort', () => model.off('change:banner', changed));
    this.refresh();
  }

  private refresh(): void {
    const said = Object.entries(this.model.get('banner') as Record<string, string>);
    this.root.hidden = said.length === 0;
    this.root.replaceChildren(
      ...said.map(([what, words]) => {
        const one = make('span', 'wb-said');
        const [term, value] = [make('span', 'wb-what'), make('span', 'wb-words')];
        term.textContent = trans.__(what);
        value.textContent = words;
        one.append(term, value);
        return one;
      })
    );
  }
}
