/** Elements of the page, and numbers as people read them. */

export function make<Name extends keyof HTMLElementTagNameMap>(
  name: Name,
  className: string,
  attributes: Record<string, string> = {}
): HTMLElementTagNameMap[Name] {
  const element = document.createElement(name);
  element.className = className;
  for (const [each, value] of Object.entries(attributes)) {
    element.setAttribute(each, value);
  }
  return element;
}

/** Four digits. */
export function number(value: number): string {
  return Number(value.toPrecision(4)).toString();
}
