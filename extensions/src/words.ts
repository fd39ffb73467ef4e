import { nullTranslator, type ITranslator, type TranslationBundle } from '@jupyterlab/translation';

/** Texts of the page in the language of JupyterLab; `workbench/locale` has them in German. */

const DOMAIN = 'imaging_workbench';

/** Translates: `trans.__('%1 of %2 planes', 3, 40)`. English until the page has said which language it speaks. */
export let trans: TranslationBundle = nullTranslator.load(DOMAIN);

/** Speak the language of a page, which stays the same until it is loaded again. */
export function speak(translator: ITranslator): void {
  trans = translator.load(DOMAIN);
}
