import { make } from './elements';
import { count, say, type Word } from './browserWords';

/** Values to tick, each with how many series have it; what is ticked narrows the list. */

type Value = string | null;
export type Counted = Readonly<Record<string, [Value, number][]>>;
export type Chosen = Readonly<Record<string, Value[]>>;

const FEW = 6;

export class Facets {
  readonly root = make('div', 'wb-facets', { role: 'group', 'aria-label': say('filters') });
  private readonly whole = new Set<string>();
  private counted: Counted = {};
  private chosen: Chosen = {};

  constructor(private readonly choose: (chosen: Chosen) => void) {}

  show(counted: Counted, chosen: Chosen): void {
    this.counted = counted;
    this.chosen = chosen;
    const focused = this.root.contains(document.activeElement)
      ? (document.activeElement as HTMLElement).dataset['key']
      : undefined;
    this.root.replaceChildren(...Object.entries(counted).map(([facet, values]) => this.facet(facet, values)));
    if (focused !== undefined) {
      [...this.root.querySelectorAll<HTMLElement>('[data-key]')]
        .find(each => each.dataset['key'] === focused)
        ?.focus();
    }
  }

  private facet(facet: string, values: [Value, number][]): HTMLElement {
    const element = make('fieldset', 'wb-facet');
    const legend = make('legend', 'wb-facet-name');
    legend.textContent = say(`facet.${facet}` as Word);
    const ticked = this.chosen[facet] ?? [];
    const isWhole = this.whole.has(facet);
    const shown = values.filter(([value], at) => isWhole || at < FEW || ticked.includes(value));
    element.append(legend, ...shown.map(([value, number]) => this.value(facet, value, number)));
    if (isWhole || shown.length < values.length) {
      const more = make('button', 'wb-more', { type: 'button', 'data-key': `${facet} more` });
      more.textContent = isWhole ? say('fewer') : say('more', count(values.length - shown.length));
      more.addEventListener('click', () => {
        if (!this.whole.delete(facet)) {
          this.whole.add(facet);
        }
        this.show(this.counted, this.chosen);
      });
      element.append(more);
    }
    element.hidden = values.length === 0;
    return element;
  }

  private value(facet: string, value: Value, number: number): HTMLElement {
    const ticked = this.chosen[facet] ?? [];
    const element = make('label', 'wb-value-choice');
    const box = make('input', 'wb-tick-box', { type: 'checkbox', 'data-key': `${facet} ${value ?? '∅'}` });
    box.checked = ticked.includes(value);
    box.addEventListener('change', () => {
      const others = (this.chosen[facet] ?? []).filter(each => each !== value);
      this.choose({ ...this.chosen, [facet]: box.checked ? [...others, value] : others });
    });
    const name = make('span', 'wb-value-name');
    name.textContent = value ?? say(facet === 'source' ? 'hereOnly' : 'none');
    name.title = name.textContent;
    const amount = make('span', 'wb-value-count');
    amount.textContent = count(number);
    element.append(box, name, amount);
    return element;
  }
}
