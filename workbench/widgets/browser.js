// Shows the browser of the page; elsewhere the first series in words, and a sentence.
function still(model, el) {
  const table = document.createElement('pre');
  table.textContent = model.get('words');
  const words = document.createElement('p');
  words.textContent = 'A still table: the browser needs JupyterLab with the extension of Imaging Workbench.';
  el.append(table, words);
}

async function render({ model, el }) {
  const page = await found();
  return page ? page.browse(model, el) : still(model, el);
}

export default { render };
