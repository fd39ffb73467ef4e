// Finds what the JupyterLab extension brings to the page; nothing in other front ends. Stands before each widget's own.
const NAME = 'imagingWorkbench';
const READY = 'imaging-workbench';
const PATIENCE_MS = 10_000;

function found() {
  if (globalThis[NAME] || !document.getElementById('jupyter-config-data')) {
    return Promise.resolve(globalThis[NAME]);
  }
  return new Promise(resolve => {
    const late = setTimeout(() => resolve(undefined), PATIENCE_MS);
    globalThis.addEventListener(READY, () => { clearTimeout(late); resolve(globalThis[NAME]); }, { once: true });
  });
}
