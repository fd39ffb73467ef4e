import type { JupyterFrontEnd } from '@jupyterlab/application';
import type { IRenderMime } from '@jupyterlab/rendermime-interfaces';
import { PanelLayout, Widget } from '@lumino/widgets';
import { make } from './elements';

/** A still picture and a sentence in the place of a viewer whose kernel is gone: a notebook that was saved. */

/** What the output of a viewer has beside its widget (`workbench/widgets/viewer.py`). */
const STILL = 'application/vnd.imaging-workbench.still+json';
const VIEW = 'application/vnd.jupyter.widget-view+json';
/** Before widgets, which have -10. */
const RANK = -20;

interface Registry {
  getFactory(mimeType: string): IRenderMime.IRendererFactory | undefined;
  createRenderer(mimeType: string): IRenderMime.IRenderer;
  addFactory(factory: IRenderMime.IRendererFactory, rank?: number): void;
}

/** Have every notebook show still pictures until a widget does. */
export function keepStills({ docRegistry }: JupyterFrontEnd): void {
  docRegistry.addWidgetExtension('Notebook', {
    createNew: panel => {
      const { rendermime } = (panel as unknown as { content: { rendermime: Registry } }).content;
      const createRenderer = (): Still => new Still(rendermime);
      rendermime.addFactory({ safe: true, mimeTypes: [STILL], createRenderer }, RANK);
    }
  });
}

class Still extends Widget implements IRenderMime.IRenderer {
  private readonly picture = new Widget({ node: make('figure', 'wb-still') });
  private view: IRenderMime.IRenderer | undefined;
  private readonly watched = new MutationObserver(() => this.choose());

  constructor(private readonly registry: Registry) {
    super();
    const layout = new PanelLayout();
    layout.addWidget(this.picture);
    this.layout = layout;
  }

  async renderModel(model: IRenderMime.IMimeModel): Promise<void> {
    const { data, trusted } = model;
    const picture = pictureOf(data);
    const words = make(picture === undefined ? 'pre' : 'figcaption', 'wb-still-words');
    words.textContent = String(data['text/plain']);
    this.picture.node.replaceChildren(...(picture === undefined ? [] : [picture]), words);
    if (trusted && this.registry.getFactory(VIEW) !== undefined) {
      this.view?.dispose();
      this.view = this.registry.createRenderer(VIEW);
      (this.layout as PanelLayout).addWidget(this.view);
      this.watched.observe(this.view.node, { childList: true });
      this.choose();
      await this.view.renderModel(model);
    }
  }

  override dispose(): void {
    this.watched.disconnect();
    super.dispose();
  }

  /** A widget that is not there, or not yet, is a text. */
  private choose(): void {
    const isLive = (this.view?.node.childElementCount ?? 0) > 0;
    this.picture.setHidden(isLive);
    this.view?.setHidden(!isLive);
  }
}

/** The picture of an output; a table of words has none. */
function pictureOf(data: Readonly<Record<string, unknown>>): HTMLElement | undefined {
  const { 'image/png': png, 'image/svg+xml': svg } = data;
  const source =
    typeof png === 'string'
      ? `data:image/png;base64,${png}`
      : typeof svg === 'string'
        ? `data:image/svg+xml,${encodeURIComponent(svg)}`
        : undefined;
  return source === undefined ? undefined : make('img', 'wb-still-image', { alt: '', src: source });
}
