// The picture: boxes stacked in columns, cards in them, edges between rows. Places within a box come with the view.

const CLOSED_WIDTH = 216;
const HEADING = 40;
const ROW = 20;
const ACROSS = 62;
const DOWN = 26;

/**
 * Stacks the boxes: columns from left to right, each around one middle line. Narrow boxes stand beside each other where
 * the column is wide enough.
 */
function stack(map, isOpen) {
  const columns = new Map();
  const places = map.groups.map((group, number) => {
    if (!columns.has(group.column)) columns.set(group.column, []);
    columns.get(group.column).push(number);
    const open = isOpen(group);
    return { x: 0, y: 0, width: open ? group.width : CLOSED_WIDTH, height: open ? group.height : group.closed_height, open };
  });
  let left = 0;
  const stacks = [...columns.entries()].sort(([one], [other]) => one - other).map(([, numbers]) => {
    numbers.sort((one, other) => map.groups[one].order - map.groups[other].order || one - other);
    const widest = Math.max(...numbers.map(number => places[number].width));
    const rows = [];
    for (const number of numbers) {
      const { width, height } = places[number];
      const row = rows[rows.length - 1];
      if (row && row.wide + DOWN + width <= widest) {
        row.numbers.push(number);
        row.wide += DOWN + width;
        row.tall = Math.max(row.tall, height);
      } else {
        rows.push({ numbers: [number], wide: width, tall: height });
      }
    }
    let top = 0;
    for (const row of rows) {
      let x = left + Math.floor((widest - row.wide) / 2);
      for (const number of row.numbers) {
        Object.assign(places[number], { x, y: top });
        // Lines to a box behind another of its row pass above that.
        places[number].first = places[row.numbers[0]];
        x += places[number].width + DOWN;
      }
      top += row.tall + DOWN;
    }
    left += widest + ACROSS;
    return { numbers, height: Math.max(0, top - DOWN) };
  });
  const height = Math.max(0, ...stacks.map(own => own.height));
  for (const own of stacks) {
    for (const number of own.numbers) places[number].y += Math.floor((height - own.height) / 2);
  }
  return { places, width: Math.max(0, left - ACROSS), height };
}

/** Where a card stands: its node's, or its closed box's. */
function cardOf(map, stacked, number) {
  const node = map.nodes[number];
  const place = stacked.places[node.group];
  if (!place.open) return { x: place.x, y: place.y, width: place.width, height: place.height, closed: true, group: node.group };
  return { x: place.x + node.x, y: place.y + node.y, width: node.width, height: node.height, closed: false, group: node.group };
}

/** The points an edge runs through, on the picture. */
function bendsOf(edge, stacked, from, to) {
  const points = [];
  for (const [card, bends] of [[from, edge.bends], [to, edge.bends_in]]) {
    if (card === to && from.group !== to.group) points.push(...above(stacked, to));
    if (card.closed) continue;
    const corner = stacked.places[card.group];
    for (let place = 0; place < bends.length; place += 2) points.push({ x: corner.x + bends[place], y: corner.y + bends[place + 1] });
  }
  return points;
}

/** The points above the boxes that stand before a line's end in their row. */
function above(stacked, to) {
  const [place, first] = [stacked.places[to.group], stacked.places[to.group].first];
  return place === first ? [] : [{ x: first.x - 12, y: place.y - 10 }, { x: place.x - 22, y: place.y - 10 }];
}

/** Gathers edges into lines: what runs between the same two cards to the same row is one. */
function lines(map, stacked) {
  const found = new Map();
  map.edges.forEach((edge, number) => {
    const from = cardOf(map, stacked, edge.from_node);
    const to = cardOf(map, stacked, edge.to_node);
    if (from.closed && to.closed && from.group === to.group) return;
    const row = to.closed ? edge.group_row : edge.row;
    const key = `${from.closed ? `g${from.group}` : edge.from_node} ${to.closed ? `g${to.group}` : edge.to_node} ${row}`;
    const line = found.get(key);
    if (line) {
      line.edges.push(number);
    } else {
      found.set(key, { from, to, row, look: edge.look, bends: bendsOf(edge, stacked, from, to), edges: [number], isLoop: edge.from_node === edge.to_node });
    }
  });
  return [...found.values()];
}

/** Returns the way of a line as a path. */
function way(line) {
  const { from, to } = line;
  const row = line.row === null ? 0 : line.row;
  const end = { x: to.x - 5, y: to.y + HEADING + ROW * row + ROW / 2, along: 1 };
  if (line.isLoop) {
    const top = from.y + 20;
    return `M${from.x} ${top}C${from.x - 42} ${top} ${from.x - 42} ${end.y} ${end.x} ${end.y}`;
  }
  const start = { x: from.x + from.width, y: from.y + 20, along: 1 };
  const points = [start];
  if (line.bends.length > 0) {
    const along = line.bends[0].x <= line.bends[line.bends.length - 1].x ? 1 : -1;
    points.push(...line.bends.map(point => ({ ...point, along })));
  } else if (end.x < start.x + 12) {
    // Back, or to another card of the column: through the gap beside the one it goes to.
    const isAbove = from.y + from.height <= to.y;
    const isBelow = to.y + to.height <= from.y;
    const y = isAbove ? to.y - 9 : isBelow ? to.y + to.height + 9 : Math.max(from.y + from.height, to.y + to.height) + 12;
    points.push({ x: (start.x + end.x) / 2, y, along: -1 });
  }
  points.push(end);
  let path = `M${start.x} ${start.y}`;
  for (let place = 1; place < points.length; place += 1) {
    const [one, other] = [points[place - 1], points[place]];
    const ahead = (other.x - one.x) * one.along;
    const pull = Math.min(110, Math.max(ahead > 0 ? 10 : 34, Math.abs(ahead) / 2));
    path += `C${one.x + one.along * pull} ${one.y} ${other.x - other.along * pull} ${other.y} ${other.x} ${other.y}`;
  }
  return path;
}

/** Width of a line by its bytes a second: one step for each tenfold. */
function widthOf(rate, look) {
  const width = 1.2 + 0.62 * Math.log10(1 + rate / 50);
  return Math.min(5.5, Math.max(look === 'fault' ? 2.6 : look === 'new' ? 2 : 1.2, width)).toFixed(1);
}

const SIGNS = {
  external: 'M8 1a7 7 0 1 0 0 14a7 7 0 1 0 0-14M1 8h14M8 1c-4 4-4 10 0 14M8 1c4 4 4 10 0 14',
  host: 'M1 3h14v4H1zM1 9h14v4H1zM4 5h1M4 11h1',
  unclaimed: 'M5 5.5a3 3 0 1 1 4 2.8c-.8.4-1 .9-1 1.9M8 12.6v.8',
  ambiguous: 'M5 5.5a3 3 0 1 1 4 2.8c-.8.4-1 .9-1 1.9M8 12.6v.8',
  multicast: 'M8 8m-1.5 0a1.5 1.5 0 1 0 3 0a1.5 1.5 0 1 0-3 0M4 4a5.6 5.6 0 0 0 0 8M12 4a5.6 5.6 0 0 1 0 8',
  address: 'M8 8m-3 0a3 3 0 1 0 6 0a3 3 0 1 0-6 0',
  other: 'M1 4h5l1.5 2H15v8H1z',
};

/** Draws a line of a card at which edges end. */
function drawRow(row, x, y, width) {
  const mark = row.look === 'fault'
    ? draw('path', { class: 'mark', d: `M${x + 9} ${y + 14.5}l5-9 5 9z` })
    : row.look === 'new'
      ? draw('path', { class: 'mark', d: `M${x + 14} ${y + 5}l4.5 5-4.5 5-4.5-5z` })
      : row.look === 'failed'
        ? draw('path', { class: 'mark', d: `M${x + 11} ${y + 7}l6 6m0-6l-6 6` })
        : draw('circle', { class: 'mark', cx: x + 14, cy: y + 10, r: 3 });
  const end = { class: 'word', x: x + width - 10, y: y + 14, 'text-anchor': 'end' };
  return draw('g', { class: `row row-${row.look}` },
    draw('rect', { class: 'ground', x: x + 3, y: y + 1, width: width - 6, height: ROW - 2, rx: 4 }),
    mark,
    draw('text', { class: 'port', x: x + 24, y: y + 14 }, row.label),
    row.word ? draw('text', end, row.word) : null);
}

function drawCard(attributes, card, heading, rows) {
  const group = draw('g', attributes, draw('rect', { class: 'card', x: card.x, y: card.y, width: card.width, height: card.height, rx: heading.round || 7 }));
  let left = card.x + 12;
  if (SIGNS[heading.kind]) {
    group.append(draw('path', { class: 'sign', d: SIGNS[heading.kind], transform: `translate(${left} ${card.y + 11})` }));
    left += 24;
  }
  const hasNote = heading.note !== '';
  group.append(draw('title', {}, heading.title), draw('text', { class: 'title', x: left, y: card.y + (hasNote ? 18 : 25) }, heading.label));
  if (hasNote) group.append(draw('text', { class: 'note', x: left, y: card.y + 32 }, heading.note));
  const right = card.x + card.width - 11;
  if (heading.replicas > 6) {
    group.append(draw('text', { class: 'pips', x: right, y: card.y + 18, 'text-anchor': 'end' }, `×${heading.replicas}`));
  } else if (heading.replicas > 1) {
    for (let pip = 0; pip < heading.replicas; pip += 1) {
      group.append(draw('rect', { class: 'pip', x: right - 6 - 8 * (pip % 3), y: card.y + 10 + 8 * Math.floor(pip / 3), width: 6, height: 6, rx: 1.5 }));
    }
  }
  rows.forEach((row, place) => group.append(drawRow(row, card.x, card.y + HEADING + ROW * place, card.width)));
  return group;
}

/** What a card says to who cannot see it. */
function spoken(title, kind, note, rows) {
  const ports = rows.map(row => `${row.label}${row.word ? ` ${row.word}` : ''}`).join(', ');
  return `${title}, ${kind === 'workload' ? 'service' : kind}${note ? `, ${note}` : ''}${ports ? `, serves ${ports}` : ''}`;
}

function definitions() {
  const head = look => draw('marker', { id: `head-${look}`, viewBox: '0 0 8 8', refX: 6, refY: 4, markerWidth: 9, markerHeight: 9, markerUnits: 'userSpaceOnUse', orient: 'auto' },
    draw('path', { class: `head ${look}`, d: 'M0 .5 7.5 4 0 7.5z' }));
  const bar = draw('marker', { id: 'head-failed', viewBox: '0 0 8 12', refX: 4, refY: 6, markerWidth: 8, markerHeight: 12, markerUnits: 'userSpaceOnUse', orient: 'auto' },
    draw('path', { class: 'bar', d: 'M2 0v12M6 0v12' }));
  return draw('defs', {}, ...['plain', 'fault', 'new', 'guess', 'proxy'].map(head), bar);
}

/**
 * Draws the whole picture into `scene` and returns what stands where: cards by key, lines by edge.
 * Keys are `n` and the number of a node, `g` and the number of a closed box.
 */
function drawPicture(scene, view, isOpen, rates) {
  const { map } = view;
  const stacked = stack(map, isOpen);
  // What is written is above all lines: names of boxes, then cards.
  const [boxes, edges, heads, cards] = [draw('g', {}), draw('g', {}), draw('g', { class: 'heads' }), draw('g', {})];
  const drawn = { cards: new Map(), lines: [], boxes: new Map(), width: stacked.width, height: stacked.height };
  map.groups.forEach((group, number) => {
    const place = stacked.places[number];
    if (group.kind !== 'workload') return;
    const count = `${counted(group.services, 'service', 'services')}, ${counted(group.containers, 'container', 'containers')}`;
    if (place.open) {
      const box = draw('g', { class: 'box', 'data-group': number },
        draw('rect', { x: place.x, y: place.y, width: place.width, height: place.height, rx: 10 }),
        draw('rect', { class: 'handle', x: place.x, y: place.y, width: place.width, height: 32 }));
      boxes.append(box);
      heads.append(
        draw('text', { class: 'name', x: place.x + 18, y: place.y + 21 }, group.title),
        draw('text', { class: 'count', x: place.x + place.width - 18, y: place.y + 21, 'text-anchor': 'end' }, counted(group.services, 'service', 'services')));
      drawn.boxes.set(number, box);
    } else {
      const faulty = group.findings > 0 ? ' faulty' : '';
      const note = group.findings > 0 ? `${count}, ${counted(group.findings, 'finding', 'findings')}` : count;
      const card = drawCard({ class: `node closed${faulty}`, 'data-key': `g${number}`, role: 'button', 'aria-expanded': 'false', 'aria-label': spoken(group.title, 'box', note, group.rows) },
        place, { kind: '', title: group.title, label: short(group.title, 24), note, replicas: 0 }, group.rows);
      cards.append(card);
      drawn.cards.set(`g${number}`, { ...place, element: card, group: number });
    }
  });
  map.nodes.forEach((node, number) => {
    const card = cardOf(map, stacked, number);
    if (card.closed) return;
    const silent = node.note.includes('silent') ? ' silent' : '';
    const faulty = node.rows.some(row => row.look === 'fault') ? ' faulty' : '';
    const round = { external: 20, host: 2 }[node.kind];
    const element = drawCard({ class: `node ${node.kind}${silent}${faulty}`, 'data-key': `n${number}`, role: 'button', 'aria-label': spoken(node.title, node.kind, node.note, node.rows) },
      card, { kind: node.kind, title: node.title, label: node.label, note: node.note, replicas: node.kind === 'workload' ? node.replicas.length + node.replicas_left_out : 0, round }, node.rows);
    cards.append(element);
    drawn.cards.set(`n${number}`, { ...card, element, group: node.group, node: number });
  });
  for (const line of lines(map, stacked)) {
    const rate = line.edges.reduce((sum, number) => sum + (rates.get(map.edges[number].id) || 0), 0);
    const path = way(line);
    const first = map.edges[line.edges[0]];
    const name = line.edges.length === 1 ? visible(first.id) : `${line.edges.length} edges`;
    const element = draw('g', { class: `edge ${line.look}`, 'data-line': drawn.lines.length },
      draw('path', { class: 'reach', d: path }),
      draw('path', { class: 'line', d: path, 'stroke-width': widthOf(rate, line.look), 'marker-end': `url(#head-${line.look})` }),
      draw('title', {}, `${name}${first.word ? `  ${first.word}` : ''}  ${bytes(rate)}/s`));
    edges.append(element);
    drawn.lines.push({ ...line, element, rate });
  }
  scene.replaceChildren(boxes, edges, heads, cards);
  return drawn;
}

function short(text, most) {
  const letters = [...text];
  return letters.length <= most ? text : `${letters.slice(0, most - 1).join('')}…`;
}

const LEGEND = [
  ['plain', 'expected'], ['fault', '▲ undocumented, unexpected'], ['new', '◆ new'], ['failed', '✕ refused, blocked, unanswered'],
  ['guess', 'direction guessed'], ['proxy', 'host or docker-proxy'],
];

function drawLegend(list) {
  list.replaceChildren(...LEGEND.map(([look, words]) => make('li', {},
    draw('svg', { 'aria-hidden': 'true' }, draw('g', { class: `edge ${look}` },
      draw('path', { class: 'line', d: 'M0 6h28', 'stroke-width': look === 'fault' ? 2.6 : look === 'new' ? 2 : 1.5, 'marker-end': `url(#head-${look})` }))),
    words)));
  list.title = 'The wider a line, the more bytes a second: a step for each tenfold.';
}
