'use strict';
// Words and figures: everything shown is made of text nodes, so that no name ever becomes markup.

/** Makes an element with attributes and children; children are nodes or texts. */
function make(name, attributes, ...children) {
  return filled(document.createElement(name), attributes, children);
}

/** Makes an element of a picture. */
function draw(name, attributes, ...children) {
  return filled(document.createElementNS('http://www.w3.org/2000/svg', name), attributes, children);
}

function filled(element, attributes, children) {
  for (const [key, value] of Object.entries(attributes || {})) {
    if (value !== undefined && value !== null && value !== false) element.setAttribute(key, value === true ? '' : String(value));
  }
  element.append(...children.filter(child => child !== null && child !== undefined));
  return element;
}

/** Shows what hides: controls, separators, zero-width characters and those that turn the writing round. */
function visible(text) {
  const hidden = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]|\udb40[\udc00-\udc7f]/g;
  return String(text).replace(hidden, found => `<U+${found.codePointAt(0).toString(16).toUpperCase().padStart(4, '0')}>`);
}

/** As `portolan_graphs::short_bytes` writes it: to the nearest, tenths below ten. Rates are no whole numbers. */
function bytes(count) {
  if (count < 1024) return `${Math.min(1023, Math.round(count))} B`;
  const units = ['KiB', 'MiB', 'GiB', 'TiB', 'PiB', 'EiB'];
  let place = 0;
  count /= 1024;
  while (place < units.length - 1 && Math.floor(count + 0.5) >= 1024) {
    count /= 1024;
    place += 1;
  }
  const tenths = Math.floor(count * 10 + 0.5);
  return `${tenths < 100 ? (tenths / 10).toFixed(1) : Math.floor(count + 0.5)} ${units[place]}`;
}

function grouped(count) {
  return String(count).replace(/\B(?=(\d{3})+$)/g, ',');
}

function counted(count, one, many) {
  return `${grouped(count)} ${count === 1 ? one : many}`;
}

function roundTrip(nanoseconds) {
  if (nanoseconds === null || nanoseconds === undefined) return '';
  // As `portolan_graphs::short_milliseconds` writes it.
  for (const [digits, unit, limit] of [[2, 1e4, 1000], [1, 1e5, 1000]]) {
    const parts = Math.floor(nanoseconds / unit + 0.5);
    if (parts < limit) return `${(parts / 10 ** digits).toFixed(digits)} ms`;
  }
  return `${Math.floor(nanoseconds / 1e6 + 0.5)} ms`;
}

/** Reads RFC 3339; JavaScript knows milliseconds. */
function milliseconds(time) {
  return Date.parse(String(time).replace(/(\.\d{3})\d*/, '$1'));
}

/** `14:02:11`, with the date where it is another than that of `beside`. */
function clock(time, beside) {
  const [date, rest] = String(time).split('T');
  const seconds = (rest || '').slice(0, 8);
  return beside && String(beside).startsWith(date) ? seconds : `${date} ${seconds}`;
}

function port(port) {
  return port.port === null || port.port === undefined ? port.protocol : `${port.port}/${port.protocol}`;
}

/** Quotes for a shell: nothing in it has a meaning there. */
function quoted(text) {
  return `'${String(text).replace(/'/g, "'\\''")}'`;
}

function attempted(outcomes) {
  return outcomes.answered + failed(outcomes) + outcomes.pending;
}

function failed(outcomes) {
  return outcomes.refused + outcomes.unanswered + outcomes.blocked;
}

function outcomesInWords(outcomes) {
  const parts = [];
  for (const [key, words] of [['answered', 'answered'], ['refused', 'refused'], ['unanswered', 'unanswered'], ['blocked', 'blocked on this host'], ['pending', 'pending']]) {
    if (outcomes[key] > 0) parts.push(`${grouped(outcomes[key])} ${words}`);
  }
  return parts.join(', ') || 'none counted';
}
