import { InputDialog } from '@jupyterlab/apputils';
import { trans } from './words';

/** Asks for the text of an arrow. */

type Done = (text: string) => void;

/** Of a new one; without a text there is none. */
export function askText(done: Done): void {
  void ask('').then(text => done(text ?? ''));
}

/** Of one that is there; it keeps its text where the question is given up. */
export function askAgain({ data }: { data: { label?: string } }, _event: unknown, done: Done): void {
  void ask(data.label ?? '').then(text => done(text ?? data.label ?? ''));
}

async function ask(text: string): Promise<string | null> {
  const title = trans.__('Text of the arrow');
  const { value } = await InputDialog.getText({ title, text });
  return value;
}
