import type { JupyterFrontEnd, JupyterFrontEndPlugin } from '@jupyterlab/application';
import { ITranslator } from '@jupyterlab/translation';
import type { Model } from './model';
import { keepStills } from './still';
import { speak } from './words';

/** The one name under which cells find viewer and browser of this page (`workbench/widgets/found.js`). */
const NAME = 'imagingWorkbench';
const READY = 'imaging-workbench';

const viewer: JupyterFrontEndPlugin<void> = {
  id: 'imaging-workbench:viewer',
  description: 'Shows arrays and the catalog in cells; the engine is loaded with the first array.',
  autoStart: true,
  optional: [ITranslator],
  activate: (app: JupyterFrontEnd, translator: ITranslator | null) => {
    keepStills(app);
    const show = async (model: Model, element: HTMLElement): Promise<() => void> => {
      if (translator !== null) {
        speak(translator);
      }
      const settings = app.serviceManager.serverSettings;
      if (model.get('strips') !== undefined) {
        const { StripViewer } = await import('./strips');
        return StripViewer.show(model, element, settings);
      }
      const { Viewer } = await import('./viewer');
      return Viewer.show(model, element, settings);
    };
    const browse = async (model: Model, element: HTMLElement): Promise<() => void> => {
      if (translator !== null) {
        speak(translator);
      }
      const { Browser } = await import('./browser');
      return Browser.browse(model, element);
    };
    (globalThis as Record<string, unknown>)[NAME] = { show, browse };
    globalThis.dispatchEvent(new Event(READY));
  }
};

export default viewer;
