import { ServerConnection } from '@jupyterlab/services';

/** A picture of images as they stand, with what is laid over them and marks: PNG. */
export async function shot(elements: readonly HTMLElement[]): Promise<ArrayBuffer> {
  const boxes = elements.map(each => each.getBoundingClientRect());
  const left = Math.min(...boxes.map(each => each.left));
  const top = Math.min(...boxes.map(each => each.top));
  const canvas = document.createElement('canvas');
  canvas.width = Math.round(Math.max(...boxes.map(each => each.right)) - left);
  canvas.height = Math.round(Math.max(...boxes.map(each => each.bottom)) - top);
  const context = canvas.getContext('2d')!;
  context.fillRect(0, 0, canvas.width, canvas.height);
  for (const [at, element] of elements.entries()) {
    const { width, height } = boxes[at]!;
    const place = [boxes[at]!.left - left, boxes[at]!.top - top, width, height] as const;
    for (const image of element.querySelectorAll<HTMLCanvasElement>('canvas:not(.wb-preview)')) {
      context.drawImage(image, ...place);
    }
    const overlay = element.querySelector('svg');
    if (overlay !== null) {
      context.drawImage(await drawn(overlay, width, height), ...place);
    }
  }
  const blob = await new Promise<Blob | null>(resolve => canvas.toBlob(resolve, 'image/png'));
  return blob!.arrayBuffer();
}

async function drawn(overlay: SVGElement, width: number, height: number): Promise<HTMLImageElement> {
  const copy = overlay.cloneNode(true) as SVGElement;
  copy.setAttribute('width', String(width));
  copy.setAttribute('height', String(height));
  const image = new Image();
  const text = new XMLSerializer().serializeToString(copy);
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(text)}`;
  await image.decode();
  return image;
}

/** Give a picture to the kernel that waits for it. */
export async function handIn(
  key: string,
  png: ArrayBuffer,
  settings: ServerConnection.ISettings
): Promise<void> {
  const url = `${settings.baseUrl}workbench/pictures/${key}`;
  await ServerConnection.makeRequest(url, { method: 'PUT', body: png }, settings);
}
