import { trans } from './words';

/** Every text of the browser, in one place; `%1` stands for a value. */
export const WORDS = {
  browser: 'Browser of the catalog',
  search: 'Search',
  searchHint: 'words, "two words" or Modality=CT',
  where: 'Where',
  order: 'Order',
  descending: 'Descending',
  view: 'View',
  list: 'List',
  gallery: 'Gallery',
  openAll: 'Open all',
  closeAll: 'Close all',
  refresh: 'Ask again',
  filters: 'Filters',
  none: 'none',
  hereOnly: 'here',
  more: '%1 more',
  fewer: 'fewer',
  found: '%1 of %2 series',
  selected: '%1 selected',
  clear: 'Select none',
  closeViewer: 'Close the viewer',
  opening: 'Opening %1 …',
  elsewhere: 'elsewhere',
  isElsewhere: 'Its pixels are not here but at %1.',
  fetch: 'Fetch and open',
  ours: 'our result',
  noPicture: 'no picture: %1',
  gone: 'no longer in the catalog',
  nothing: 'No series is so. Ask for less, or index files first.',
  series: '%1 series',
  images: '%1 images',
  image: '1 image',
  objects: '%1 objects',
  object: '1 object',
  accession: 'accession %1',
  noPatient: 'without Patient ID',
  'column.picture': 'Picture',
  'column.modality': 'Modality',
  'column.number': 'No.',
  'column.series': 'Series',
  'column.body_part': 'Body part',
  'column.images': 'Images',
  'column.date': 'Date',
  'column.patient': 'Patient',
  'column.place': 'Place',
  'facet.modality': 'Modality',
  'facet.body_part_examined': 'Body part',
  'facet.study_year': 'Year',
  'facet.source': 'Known from',
  'order.patient': 'by patient and study',
  'order.name': "by patient's name",
  'order.date': 'by study date',
  'order.modality': 'by modality',
  'order.number': 'by series number',
  'order.series': 'by series',
  'order.body_part': 'by body part',
  'order.added': 'as they came'
} as const;

export type Word = keyof typeof WORDS;

/** A text in the language of the page, with values in its places. */
export function say(word: Word, ...values: string[]): string {
  return trans.__(WORDS[word], ...values);
}

/** A whole number as the language of the page writes it. */
export function count(value: number): string {
  return new Intl.NumberFormat(document.documentElement.lang || 'en').format(value);
}

/** A date of DICOM as people read it; what is none stays as it is. */
export function date(text: string | null | undefined): string {
  const found = /^(\d{4})\.?(\d\d)\.?(\d\d)$/.exec(text ?? '');
  return found === null ? (text ?? '') : `${found[1]}-${found[2]}-${found[3]}`;
}
