/** What buttons and keys do at once, without a tool. */

export type ActionName = (typeof ACTIONS)[number]['name'];

/** `key` as `KeyboardEvent.key` has it, with `Control+` before it. */
export const ACTIONS = [
  { name: 'invert', key: 'i', group: 'turn' },
  { name: 'turn', key: ']', group: 'turn' },
  { name: 'flip left and right', key: 'h', group: 'turn' },
  { name: 'flip top and bottom', key: 'j', group: 'turn' },
  { name: 'whole image', key: '0', group: 'turn' },
  { name: 'undo', key: 'Control+z', group: 'undo' },
  { name: 'redo', key: 'Control+Z', group: 'undo' },
  { name: 'play', key: ' ', group: 'play' },
  { name: 'keys', key: '?', group: 'play' }
] as const;
