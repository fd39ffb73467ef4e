// Shows the viewer of the page; elsewhere a picture and a sentence.
/** The first byte of a picture that is SVG. */
const SVG = '<'.charCodeAt(0);

function still(model, el) {
  const picture = model.get('still');
  const type = picture.getUint8(0) === SVG ? 'image/svg+xml' : 'image/png';
  const image = document.createElement('img');
  image.src = URL.createObjectURL(new Blob([picture], { type }));
  image.alt = 'still picture of the array';
  const words = document.createElement('p');
  words.textContent = 'A still picture: the viewer needs JupyterLab with the extension of Imaging Workbench.';
  el.append(image, words);
  return () => URL.revokeObjectURL(image.src);
}

async function render({ model, el }) {
  const viewer = await found();
  return viewer ? viewer.show(model, el) : still(model, el);
}

export default { render };
