import { gradient, labelColors } from './colormaps';
import { make, number } from './elements';
import type { Model } from './model';
import type { Overlay } from './overlays';
import { trans } from './words';

/** Below the images: each overlay with its colours and their values, how much of it is seen, and whether. */
export class Legend {
  readonly root = make('div', 'wb-legend', { role: 'group', 'aria-label': trans.__('Overlays') });

  constructor(
    private readonly model: Model,
    signal: AbortSignal
  ) {
    const changed = (): void => this.refresh();
    model.on('change:overlays', changed);
    signal.addEventListener('abort', () => model.off('change:overlays', changed));
    this.refresh();
  }

  private get overlays(): Overlay[] {
    return this.model.get('overlays') as Overlay[];
  }

  private refresh(): void {
    const { overlays } = this;
    this.root.hidden = overlays.length === 0;
    const there = new Map([...this.root.children].map(each => [(each as HTMLElement).dataset['uid'], each]));
    const rows = overlays.map(each => (there.get(each.uid) as HTMLElement | undefined) ?? this.row(each));
    rows.forEach((row, at) => show(row, overlays[at]!));
    if (rows.length !== this.root.children.length || rows.some((row, at) => row !== this.root.children[at])) {
      this.root.replaceChildren(...rows);
    }
  }

  private row({ uid, name }: Overlay): HTMLElement {
    const row = make('div', 'wb-slider wb-overlay-row');
    row.dataset['uid'] = uid;
    const label = make('label', 'wb-name');
    const isShown = make('input', 'wb-shown', { type: 'checkbox' });
    const text = make('span', 'wb-text');
    text.textContent = name;
    label.title = name;
    label.append(isShown, text);
    const opacity = make('input', 'wb-range', { type: 'range', min: '0', max: '1', step: '0.05' });
    opacity.setAttribute('aria-label', trans.__('opacity of %1', name));
    isShown.addEventListener('change', () => this.change(uid, { is_shown: isShown.checked }));
    opacity.addEventListener('input', () => this.change(uid, { opacity: Number(opacity.value) }));
    row.append(label, opacity, make('span', 'wb-colors'));
    return row;
  }

  private change(uid: string, state: Partial<Overlay>): void {
    const changed = this.overlays.map(each => (each.uid === uid ? { ...each, ...state } : each));
    this.model.set('overlays', changed);
    this.model.save_changes();
  }
}

function show(row: HTMLElement, overlay: Overlay): void {
  const isShown = row.querySelector<HTMLInputElement>('.wb-shown')!;
  const opacity = row.querySelector<HTMLInputElement>('.wb-range')!;
  isShown.checked = overlay.is_shown;
  opacity.value = String(overlay.opacity);
  opacity.setAttribute('aria-valuetext', `${Math.round(100 * overlay.opacity)} %`);
  row.querySelector('.wb-colors')!.replaceChildren(...scale(overlay));
}

/** A bar with the values at its ends, or the names of labels with their colours. */
function scale(overlay: Overlay): HTMLElement[] {
  if (overlay.colormap === 'labels') {
    const colorOf = labelColors(overlay.colors);
    return Object.entries(overlay.labels).map(([label, text]) => {
      const one = make('span', 'wb-label');
      const patch = make('span', 'wb-patch', { 'aria-hidden': 'true' });
      patch.style.background = `rgb(${colorOf(Number(label)).join(' ')})`;
      one.append(patch, `${label} ${text}`.trim());
      return one;
    });
  }
  const [center, width] = overlay.window;
  const [low, high, bar] = [make('span', 'wb-end'), make('span', 'wb-end'), make('span', 'wb-bar')];
  low.textContent = number(center - width / 2);
  high.textContent = `${number(center + width / 2)} ${overlay.scene.unit}`.trim();
  bar.style.background = gradient(overlay.colormap);
  return [low, bar, high];
}
