import { make } from './elements';
import { SERIES, type Line } from './browserLines';
import type { Picture } from './browserPictures';
import { count, date, say, type Word } from './browserWords';

/** How one line is drawn: a row of the list, a heading in it, or a tile of the gallery. */

/** Columns of the list: name, and the order by which its heading sorts. */
export const COLUMNS: readonly { name: string; order: string | null }[] = [
  { name: 'modality', order: 'modality' },
  { name: 'number', order: 'number' },
  { name: 'series', order: 'series' },
  { name: 'body_part', order: 'body_part' },
  { name: 'images', order: null },
  { name: 'date', order: 'date' },
  { name: 'patient', order: 'name' },
  { name: 'place', order: null }
];

const LOADING = '…';

/** What of a line is drawn; the same objects are the same drawing. */
export interface Sight {
  line: Line | undefined;
  picture: Picture | undefined;
}

const CELLS: Readonly<Record<string, (line: Line) => string>> = {
  modality: line => line.modality ?? '',
  number: line => line.series_number?.toString() ?? '',
  series: line => line.series_description ?? '',
  body_part: line => line.body_part_examined ?? '',
  images: line => count(line.frames || line.instances || 0),
  date: line => date(line.study_date),
  patient: line => [line.patient_id, line.patient_name].filter(Boolean).join(' · '),
  place: line =>
    [line.remote ? say('elsewhere') : '', line.ours ? say('ours') : ''].filter(Boolean).join(' · ')
};

function amount(line: Line): string {
  const number = line.frames || line.instances || 0;
  const [one, several]: [Word, Word] = line.frames ? ['image', 'images'] : ['object', 'objects'];
  return number === 1 ? say(one) : say(several, count(number));
}

/** A line in words: what a heading shows, and what a tile is called. */
export function words(line: Line): string {
  if (line.gone) {
    return say('gone');
  }
  const parts =
    line.level === SERIES
      ? [
          line.modality,
          line.series_description,
          amount(line),
          line.patient_id,
          date(line.study_date),
          CELLS['place']!(line)
        ]
      : line.level === 1
        ? [
            line.patient_id || say('noPatient'),
            line.patient_name,
            date(line.patient_birth_date),
            line.patient_sex
          ]
        : [
            date(line.study_date),
            line.study_description,
            line.accession_number ? say('accession', line.accession_number) : ''
          ];
  return parts.filter(Boolean).join(' · ');
}

/** A row of the list; `line` is undefined as long as it is not known. */
export function row({ line, picture }: Sight): HTMLElement {
  const element = make('div', 'wb-line', { role: 'row' });
  if (line === undefined) {
    element.append(cell('wb-line-words', LOADING, COLUMNS.length + 1));
    return element;
  }
  element.dataset['level'] = String(line.level);
  element.setAttribute('aria-level', String(line.level));
  mark(element, line);
  if (line.level !== SERIES || line.gone) {
    const name = cell('wb-line-words', '', COLUMNS.length + 1);
    if (!line.gone) {
      element.setAttribute('aria-expanded', String(line.open));
      const twisty = make('span', 'wb-twisty', { 'aria-hidden': 'true' });
      twisty.textContent = line.open ? '▾' : '▸';
      name.append(twisty);
    }
    const text = make('span', 'wb-line-name');
    text.textContent = words(line);
    const number = make('span', 'wb-line-count');
    number.textContent = line.gone ? '' : say('series', count(line.count));
    name.append(tick(line), text, number);
    element.append(name);
    return element;
  }
  const first = cell('wb-line-picture', '');
  first.append(tick(line), image(line, picture));
  element.append(first);
  for (const { name } of COLUMNS) {
    const each = cell(`wb-line-${name}`, CELLS[name]!(line));
    if (name === 'place' && line.remote) {
      each.title = line.remote;
    }
    element.append(each);
  }
  return element;
}

/** A tile of the gallery. */
export function tile({ line, picture }: Sight): HTMLElement {
  const element = make('div', 'wb-tile', { role: 'option' });
  if (line === undefined || line.gone) {
    element.textContent = line === undefined ? LOADING : say('gone');
    return element;
  }
  mark(element, line);
  element.setAttribute('aria-label', words(line));
  const captions = [
    [line.modality, amount(line)],
    [line.series_description],
    [line.patient_id],
    [date(line.study_date)],
    [CELLS['place']!(line)]
  ]
    .filter(parts => parts.some(Boolean))
    .map(parts => {
      const caption = make('span', 'wb-tile-caption');
      caption.textContent = parts.filter(Boolean).join(' · ');
      return caption;
    });
  element.append(tick(line), image(line, picture), ...captions);
  return element;
}

function mark(element: HTMLElement, line: Line): void {
  element.setAttribute('aria-selected', String(line.selected === true));
  element.title = line.level === SERIES ? (line.series_description ?? '') : '';
}

/** That a line is selected, or a part of it, without colour. */
function tick(line: Line): HTMLElement {
  const element = make('span', 'wb-tick', { 'aria-hidden': 'true' });
  element.textContent = line.selected === true ? '✓' : line.selected === null ? '–' : '';
  return element;
}

function image(line: Line, picture: Picture | undefined): HTMLElement {
  if (picture === undefined || picture.url === '') {
    const empty = make('span', 'wb-picture', { 'aria-hidden': 'true' });
    empty.textContent = line.remote ? '⇣' : '';
    empty.title = picture?.reason ?? line.remote ?? '';
    return empty;
  }
  const element = make('img', 'wb-picture', { alt: '', src: picture.url, draggable: 'false' });
  element.title = picture.reason === '' ? '' : say('noPicture', picture.reason);
  return element;
}

function cell(className: string, text: string, span = 1): HTMLElement {
  const element = make('span', `wb-cell ${className}`, { role: 'gridcell' });
  if (span > 1) {
    element.setAttribute('aria-colspan', String(span));
  }
  element.textContent = text;
  return element;
}
