// The page: what is shown, kept in the address; mouse and keys. What comes in: arrivals.js.

const $ = id => document.getElementById(id);
const held = $('held') ? JSON.parse($('held').textContent) : null;

/** What the address says, and the page with it. */
const shown = { q: '', boxes: 'project', group: 'service', open: new Set(), sel: '', tab: 'edges', theme: '', at: '', vs: '', fold: false };
let view = null;
let compared = null;
let rates = new Map();
let flows = null;
let drawn = null;
let fresh = new Set();
let here = '';
let isPaused = false;
let isLost = false;
let missed = 0;
/** How the picture lies in its frame. */
const pose = { scale: 1, x: 0, y: 0, isFitted: true };

// ---- the address ----

function readAddress() {
  const said = new URLSearchParams(location.hash.slice(1));
  shown.q = said.get('q') || '';
  shown.boxes = said.get('boxes') === 'network' && !held ? 'network' : 'project';
  shown.group = said.get('group') === 'container' ? 'container' : 'service';
  shown.open = new Set(said.getAll('open'));
  shown.sel = said.get('sel') || '';
  shown.tab = said.get('tab') === 'flows' ? 'flows' : 'edges';
  shown.theme = ['dark', 'light'].includes(said.get('theme')) ? said.get('theme') : '';
  shown.at = said.get('at') || '';
  shown.vs = said.get('vs') || '';
  shown.fold = said.get('fold') === '1';
}

function writeAddress() {
  const said = new URLSearchParams();
  for (const key of ['q', 'sel', 'theme', 'at', 'vs']) if (shown[key]) said.set(key, shown[key]);
  if (shown.boxes !== 'project') said.set('boxes', shown.boxes);
  if (shown.group !== 'service') said.set('group', shown.group);
  if (shown.tab !== 'edges') said.set('tab', shown.tab);
  if (shown.fold) said.set('fold', '1');
  for (const group of shown.open) said.append('open', group);
  const text = said.toString();
  history.replaceState(null, '', text ? `#${text}` : location.pathname + location.search);
}

/** Changes what is shown, the address with it, and draws. */
function show(change) {
  const before = wanted();
  Object.assign(shown, change);
  writeAddress();
  if (wanted() !== before) {
    pose.isFitted = true;
    here = '';
    fetchView();
  } else {
    render();
  }
}

/** What has to be asked of the daemon for what is shown. */
function wanted() {
  return [shown.boxes, shown.group, shown.at, shown.vs].join(' ');
}

// ---- what is shown ----

/** A box is open unless the address says otherwise of it. */
function isOpen(group) {
  return group.is_open !== shown.open.has(group.id);
}

function render() {
  if (!view) return;
  document.documentElement.dataset.theme = shown.theme || (matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light');
  const filter = readFilter(shown.q, milliseconds(view.at));
  const findings = new Map(view.findings.map(finding => [finding.id, finding]));
  const seen = view.map.edges.map(edge => [edge.id, edgeSeen(edge, findings)]);
  const fitting = new Map(seen.filter(([, edge]) => fitsFilter(filter, edge)));
  renderStrip(filter);
  renderFindings(filter);
  renderPicture(fitting);
  renderRows(filter, fitting, seen);
  renderDetails();
}

function renderStrip(filter) {
  const { completeness } = view;
  document.title = `Portolan on ${visible(view.host)}`;
  $('host').textContent = visible(view.host);
  $('host').title = `portolan ${view.version}, contract: ${visible(view.contract)}`;
  const isPast = shown.at !== '';
  const state = held ? 'file' : isPast ? 'past' : isLost ? 'lost' : isPaused ? 'paused' : 'live';
  const words = { file: 'as of', past: 'as of', lost: 'connection lost, as of', paused: 'paused,', live: 'live,' };
  $('state').dataset.state = state;
  $('state').textContent = `${words[state]} ${clock(view.at)} UTC${missed > 0 && state === 'live' ? `, ${missed} updates skipped` : ''}`;
  $('completeness').dataset.state = completeness.state;
  const holes = completeness.reasons ? `: ${completeness.reasons.join('; ')}` : '';
  const unseen = view.containers - view.containers_observable;
  $('completeness').textContent = `${completeness.state}${unseen > 0 ? `, ${counted(unseen, 'container', 'containers')} unseen` : ''}`;
  $('completeness').title = visible(`${completeness.state}${holes}`);
  $('reasons').replaceChildren(
    make('p', {}, visible(`${completeness.state}${holes}`)),
    make('p', {}, visible(`${view.containers_observable} of ${counted(view.containers, 'container', 'containers')} observable${view.unobservable.map(([name, why]) => `; not ${name}: ${why}`).join('')}`)),
    ...(view.kernel_dropped === null ? [] : [make('p', {}, `${counted(view.kernel_dropped, 'frame', 'frames')} dropped by the kernel`)]),
    ...(view.stale ? [make('p', {}, visible(`names may be out of date: ${view.stale}`))] : []),
    ...(view.map.edges_folded > 0 ? [make('p', {}, `${counted(view.map.edges_folded, 'edge', 'edges')} beyond the limit, gathered in "other"`)] : []),
    ...view.warnings.map(warning => make('p', {}, visible(warning))));
  if ($('filter').value !== shown.q) $('filter').value = shown.q;
  $('misread').hidden = filter.mistake === '';
  $('misread').textContent = filter.mistake;
  $('boxes').value = shown.boxes;
  $('boxes').disabled = held !== null;
  $('group').value = shown.group;
  $('pause').hidden = held !== null || isPast;
  $('pause').textContent = isPaused ? 'go on' : 'pause';
  $('pause').setAttribute('aria-pressed', String(isPaused));
  $('times').hidden = held !== null;
}

function renderFindings(filter) {
  const findings = view.findings.filter(finding => fitsFilter(filter, findingSeen(finding)));
  const chosen = shown.sel.startsWith('finding:') ? shown.sel.slice(8) : '';
  const all = view.findings.length + view.findings_left_out;
  $('findings-title').textContent = findings.length === all ? `Findings (${grouped(all)})` : `Findings (${grouped(findings.length)} of ${grouped(all)})`;
  const list = $('finding-list');
  const focused = document.activeElement && list.contains(document.activeElement) ? document.activeElement.dataset.finding : null;
  listFindings(list, view, findings, chosen);
  if (compared) list.prepend(...listChanges());
  if (focused) [...list.querySelectorAll('button')].find(button => button.dataset.finding === focused)?.focus();
}

function renderPicture(fitting) {
  const svg = $('map');
  if (!svg.firstChild) svg.append(definitions(), draw('g', { id: 'scene' }));
  drawn = drawPicture($('scene'), view, isOpen, rates);
  $('scene').classList.toggle('dense', drawn.lines.length > 120);
  const isAll = fitting.size === view.map.edges.length;
  const met = new Set();
  const chosen = chosenEdges();
  for (const line of drawn.lines) {
    const edges = line.edges.map(number => view.map.edges[number]);
    const fits = edges.some(edge => fitting.has(edge.id));
    line.element.classList.toggle('dim', !fits || (chosen.size > 0 && !edges.some(edge => chosen.has(edge.id))));
    line.element.classList.toggle('chosen', edges.some(edge => chosen.has(edge.id)));
    line.element.classList.toggle('fresh', edges.some(edge => fresh.has(edge.id)));
    line.element.classList.toggle('added', edges.some(edge => compared && compared.added.has(edge.id)));
    if (fits) edges.forEach(edge => met.add(edge.from_node).add(edge.to_node));
  }
  const text = shown.q.trim().toLowerCase();
  for (const [key, card] of drawn.cards) {
    const isMet = card.node === undefined ? view.map.nodes.some((node, number) => node.group === card.group && met.has(number)) : met.has(card.node);
    const isNamed = card.node !== undefined && text !== '' && view.map.nodes[card.node].id.toLowerCase().includes(text);
    card.element.classList.toggle('dim', !isAll && !isMet && !isNamed);
    card.element.classList.toggle('chosen', card.node !== undefined && shown.sel === `node:${view.map.nodes[card.node].id}`);
    card.element.classList.toggle('here', key === here);
  }
  if ($('legend').childElementCount === 0) drawLegend($('legend'));
  $('empty').hidden = view.map.nodes.length > 0;
  $('empty').textContent = 'Nothing to show yet: no container is known and nothing was captured.';
  if (pose.isFitted) fit();
  else posed();
}

/** The edges that what is chosen speaks of. */
function chosenEdges() {
  const [kind, id] = split(shown.sel);
  const own = edge => (kind === 'edge' && edge.id === id) || (kind === 'finding' && edge.findings.includes(id)) || (kind === 'node' && (edge.source === id || edge.target === id));
  return new Set(view.map.edges.filter(own).map(edge => edge.id));
}

function split(chosen) {
  const at = chosen.indexOf(':');
  return at < 0 ? ['', ''] : [chosen.slice(0, at), chosen.slice(at + 1)];
}

const ROWS_MAX = 400;

function renderRows(filter, fitting, seen) {
  for (const tab of ['edges', 'flows']) {
    $(`tab-${tab}`).setAttribute('aria-selected', String(shown.tab === tab));
    $(`tab-${tab}`).tabIndex = shown.tab === tab ? 0 : -1;
  }
  $('table').setAttribute('aria-labelledby', `tab-${shown.tab}`);
  $('rows').classList.toggle('folded', shown.fold);
  $('fold').setAttribute('aria-expanded', String(!shown.fold));
  $('fold').textContent = shown.fold ? 'unfold' : 'fold';
  const scrolled = $('table').scrollTop;
  const chosen = chosenEdges();
  if (shown.tab === 'edges') {
    const weight = edge => [edge.severity === null ? 0 : 1 + SEVERITIES.indexOf(edge.severity), edge.sent.bytes + edge.received.bytes];
    const edges = view.map.edges.filter(edge => fitting.has(edge.id) && (chosen.size === 0 || chosen.has(edge.id)));
    edges.sort((one, other) => weight(other)[0] - weight(one)[0] || weight(other)[1] - weight(one)[1] || (one.id < other.id ? -1 : 1));
    $('shown').textContent = `${grouped(edges.length)} of ${counted(view.map.edges.length, 'edge', 'edges')}${edges.length > ROWS_MAX ? `, the first ${ROWS_MAX} listed` : ''}`;
    $('table').replaceChildren(edgeTable(edges.slice(0, ROWS_MAX), rates, split(shown.sel)[1]));
  } else if (flows === null) {
    $('shown').textContent = 'flows are being fetched';
    $('table').replaceChildren();
    fetchFlows();
  } else {
    const byEnds = new Map(seen.map(([, edge]) => [`${edge.from} ${edge.to} ${port(edge.port)}`, edge]));
    const fits = flow => {
      const edge = byEnds.get(`${flow.src.service} ${flow.dest.service} ${port({ port: flow.dest.port, protocol: flow.proto })}`);
      const isChosen = chosen.size === 0 || view.map.edges.some(own => chosen.has(own.id) && own.source === flow.src.service && own.target === flow.dest.service && own.port.port === flow.dest.port);
      return isChosen && fitsFilter(filter, flowSeen(flow, edge));
    };
    const own = flows.filter(fits).reverse();
    $('shown').textContent = `${grouped(own.length)} of ${counted(flows.length, 'flow', 'flows')} listed, the latest first${own.length > ROWS_MAX ? `, ${ROWS_MAX} of them` : ''}`;
    $('table').replaceChildren(flowTable(own.slice(0, ROWS_MAX)));
  }
  $('table').scrollTop = scrolled;
}

function renderDetails() {
  const [kind, id] = split(shown.sel);
  let body = null;
  if (kind === 'finding') {
    const finding = view.findings.find(own => own.id === id);
    if (finding) body = describeFinding(view, finding);
  } else if (kind === 'edge') {
    const edge = view.map.edges.find(own => own.id === id);
    if (edge) body = describeEdge(view, edge, rates.get(edge.id) || 0);
  } else if (kind === 'node') {
    const number = view.map.nodes.findIndex(own => own.id === id);
    if (number >= 0) body = describeNode(view, number);
  }
  const wasHidden = $('details').hidden;
  $('details').hidden = shown.sel === '';
  if (shown.sel !== '') $('details-body').replaceChildren(...(body || [make('h2', { id: 'details-title' }, 'Gone'), make('p', {}, visible(`${id} is not in this picture.`))]));
  if (wasHidden && shown.sel !== '') reveal();
  if (!wasHidden && shown.sel === '' && pose.isFitted) fit();
}

/** Moves the picture so that the details do not lie upon what they tell of. */
function reveal() {
  const chosen = drawn.lines.filter(line => line.element.classList.contains('chosen'));
  const cards = [...drawn.cards.values()].filter(card => card.element.classList.contains('chosen'));
  const ends = [...chosen.flatMap(line => [line.from, line.to]), ...cards];
  if (ends.length === 0) return;
  const right = Math.max(...ends.map(card => card.x + card.width)) * pose.scale + pose.x;
  const left = Math.min(...ends.map(card => card.x)) * pose.scale + pose.x;
  const over = right - ($('map').getBoundingClientRect().width - 376);
  if (over > 0) {
    pose.x -= Math.min(over, Math.max(0, left - 12));
    posed();
  }
}

// ---- where the picture lies ----

function fit() {
  const frame = $('map').getBoundingClientRect();
  const room = { width: frame.width - 72, height: frame.height - 66 };
  pose.scale = Math.min(1.25, Math.max(0.03, Math.min(room.width / Math.max(1, drawn.width), room.height / Math.max(1, drawn.height))));
  pose.x = 16 + Math.max(0, (room.width - drawn.width * pose.scale) / 2);
  pose.y = 18 + Math.max(0, (room.height - drawn.height * pose.scale) / 2);
  pose.isFitted = true;
  posed();
}

function posed() {
  $('scene').setAttribute('transform', `translate(${pose.x.toFixed(1)} ${pose.y.toFixed(1)}) scale(${pose.scale.toFixed(4)})`);
}

function zoom(factor, x, y) {
  const frame = $('map').getBoundingClientRect();
  const at = { x: x ?? frame.width / 2, y: y ?? frame.height / 2 };
  const scale = Math.min(3, Math.max(0.03, pose.scale * factor));
  pose.x = at.x - (at.x - pose.x) * (scale / pose.scale);
  pose.y = at.y - (at.y - pose.y) * (scale / pose.scale);
  Object.assign(pose, { scale, isFitted: false });
  posed();
}

function zoomTo(what) {
  if (what === 'in') zoom(1.25);
  else if (what === 'out') zoom(0.8);
  else if (what === 'boxes') toggleBoxes();
  else fit();
}

/** Opens every box, or closes all where all are open. */
function toggleBoxes() {
  const boxes = view.map.groups.filter(group => group.kind === 'workload');
  const open = !boxes.every(isOpen);
  pose.isFitted = true;
  show({ open: new Set(boxes.filter(group => group.is_open !== open).map(group => group.id)) });
}

function toggleBox(number) {
  const { id } = view.map.groups[number];
  const open = new Set(shown.open);
  if (!open.delete(id)) open.add(id);
  here = '';
  show({ open });
}

/** Goes to the nearest card in a direction. */
function go(dx, dy) {
  const middle = card => ({ x: card.x + card.width / 2, y: card.y + card.height / 2 });
  const from = drawn.cards.get(here);
  let best = null;
  for (const [key, card] of drawn.cards) {
    if (key === here || card.element.classList.contains('dim')) continue;
    const at = middle(card);
    const away = from ? { x: at.x - middle(from).x, y: at.y - middle(from).y } : { x: at.x * Math.sign(dx || 1), y: at.y };
    const ahead = from ? away.x * dx + away.y * dy : 1;
    if (ahead <= 0) continue;
    const cost = from ? ahead + 2.5 * Math.abs(away.x * dy + away.y * dx) : at.x + at.y;
    if (best === null || cost < best.cost) best = { key, cost };
  }
  if (best) stand(best.key);
}

function stand(key) {
  drawn.cards.get(here)?.element.classList.remove('here');
  here = key;
  const card = drawn.cards.get(key);
  card.element.classList.add('here');
  card.element.id = 'here';
  for (const [other, { element }] of drawn.cards) if (other !== key) element.removeAttribute('id');
  $('map').setAttribute('aria-activedescendant', 'here');
  const frame = $('map').getBoundingClientRect();
  const at = { left: card.x * pose.scale + pose.x, top: card.y * pose.scale + pose.y };
  const end = { right: at.left + card.width * pose.scale, bottom: at.top + card.height * pose.scale };
  const shift = { x: at.left < 8 ? 8 - at.left : Math.min(0, frame.width - 8 - end.right), y: at.top < 8 ? 8 - at.top : Math.min(0, frame.height - 8 - end.bottom) };
  if (shift.x !== 0 || shift.y !== 0) {
    pose.x += shift.x;
    pose.y += shift.y;
    pose.isFitted = false;
    posed();
  }
}

function enter(key) {
  const card = drawn.cards.get(key);
  if (!card) return;
  if (card.node === undefined) toggleBox(card.group);
  else show({ sel: `node:${view.map.nodes[card.node].id}` });
}

// ---- mouse and keys ----

function choose(event) {
  const target = event.target.closest('[data-finding], [data-edge], [data-node], [data-only], [data-line], [data-key], [data-group]');
  if (!target) return false;
  const own = target.dataset;
  if (own.finding) show({ sel: `finding:${own.finding}` });
  else if (own.edge) show({ sel: `edge:${own.edge}` });
  else if (own.node) show({ sel: `node:${own.node}` });
  else if (own.only) show({ q: `--service ${/\s/.test(own.only) ? `"${own.only}"` : own.only}` });
  else if (own.line) chooseLine(drawn.lines[own.line]);
  else if (own.key) { stand(own.key); enter(own.key); }
  else toggleBox(Number(own.group));
  return true;
}

/** A line of many edges shows the gravest; the table lists the others. */
function chooseLine(line) {
  const edges = line.edges.map(number => view.map.edges[number]);
  edges.sort((one, other) => SEVERITIES.indexOf(other.severity) - SEVERITIES.indexOf(one.severity));
  show({ sel: `edge:${edges[0].id}` });
}

function press(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const isWriting = ['INPUT', 'SELECT'].includes(event.target.tagName);
  if (event.key === 'Escape') {
    if (isWriting && shown.q) show({ q: '' });
    else if (shown.sel) { show({ sel: '' }); $('map').focus(); }
    else if (shown.q) show({ q: '' });
    event.target.blur?.();
    return;
  }
  if (isWriting) return;
  const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  const isOnMap = document.activeElement === $('map');
  if (event.key in moves && isOnMap) go(...moves[event.key]);
  else if (event.key in moves && (event.key === 'ArrowUp' || event.key === 'ArrowDown')) { if (!step(event.key === 'ArrowDown' ? 1 : -1)) return; }
  else if (event.key in moves && document.activeElement.getAttribute('role') === 'tab') { show({ tab: shown.tab === 'edges' ? 'flows' : 'edges' }); $(`tab-${shown.tab}`).focus(); }
  else if (event.key === 'Enter' && isOnMap) enter(here);
  else if (event.key === 'Enter' && document.activeElement.dataset.edge && document.activeElement.tagName === 'TR') show({ sel: `edge:${document.activeElement.dataset.edge}` });
  else if (event.key === ' ' && isOnMap && drawn.cards.has(here)) toggleBox(drawn.cards.get(here).group);
  else if (event.key === '/') $('filter').focus();
  else if (event.key === '+') zoom(1.25);
  else if (event.key === '-') zoom(0.8);
  else if (event.key === '0') fit();
  else if (event.key === 'b') toggleBoxes();
  else if (event.key === 'p' && !held) $('pause').click();
  else if (event.key === 'd') $('theme').click();
  else if (event.key === 't' && !held) $('times').click();
  else return;
  event.preventDefault();
}

/** Goes to the next finding or row. */
function step(by) {
  const at = document.activeElement;
  const list = $('findings').contains(at) ? [...$('finding-list').querySelectorAll('button')] : $('table').contains(at) ? [...$('table').querySelectorAll('tbody tr')] : null;
  if (!list || list.length === 0) return false;
  const place = list.indexOf(at);
  list[Math.min(list.length - 1, Math.max(0, place + by))].focus();
  return true;
}

function drag(event) {
  if (event.button !== 0) return;
  const from = { x: event.clientX, y: event.clientY, poseX: pose.x, poseY: pose.y };
  let isDragged = false;
  const move = moved => {
    const by = { x: moved.clientX - from.x, y: moved.clientY - from.y };
    if (!isDragged && Math.hypot(by.x, by.y) < 4) return;
    isDragged = true;
    Object.assign(pose, { x: from.poseX + by.x, y: from.poseY + by.y, isFitted: false });
    posed();
  };
  const end = ended => {
    removeEventListener('pointermove', move);
    removeEventListener('pointerup', end);
    if (!isDragged && !choose(ended) && shown.sel) show({ sel: '' });
  };
  addEventListener('pointermove', move);
  addEventListener('pointerup', end);
}

function begin() {
  readAddress();
  $('map').addEventListener('pointerdown', drag);
  $('map').addEventListener('wheel', event => {
    event.preventDefault();
    const frame = $('map').getBoundingClientRect();
    zoom(Math.exp(-event.deltaY / 500), event.clientX - frame.left, event.clientY - frame.top);
  }, { passive: false });
  for (const part of ['findings', 'details', 'table']) $(part).addEventListener('click', choose);
  $('zoom').addEventListener('click', event => event.target.dataset.zoom && zoomTo(event.target.dataset.zoom));
  $('close').addEventListener('click', () => { show({ sel: '' }); $('map').focus(); });
  $('filtering').addEventListener('submit', event => event.preventDefault());
  $('filter').addEventListener('input', () => show({ q: $('filter').value }));
  $('boxes').addEventListener('change', () => show({ boxes: $('boxes').value, open: new Set() }));
  $('group').addEventListener('change', () => show({ group: $('group').value, sel: '' }));
  $('rows').addEventListener('click', event => event.target.dataset.tab && show({ tab: event.target.dataset.tab }));
  $('fold').addEventListener('click', () => { show({ fold: !shown.fold }); if (pose.isFitted) fit(); });
  $('pause').addEventListener('click', () => { isPaused = !isPaused; missed = 0; if (isPaused) render(); else fetchView(); });
  $('theme').addEventListener('click', () => show({ theme: document.documentElement.dataset.theme === 'dark' ? 'light' : 'dark' }));
  const fold = (button, part) => $(button).addEventListener('click', () => {
    $(part).hidden = !$(part).hidden;
    $(button).setAttribute('aria-expanded', String(!$(part).hidden));
    if (part === 'travel' && !$(part).hidden) fillTimes().catch(error => { $('travelled').textContent = visible(error.message); });
    if (pose.isFitted && drawn) fit();
  });
  fold('completeness', 'reasons');
  fold('times', 'travel');
  $('at').addEventListener('change', () => show({ at: $('at').value }));
  $('against').addEventListener('change', () => show({ vs: $('against').value }));
  addEventListener('keydown', press);
  addEventListener('hashchange', () => { readAddress(); fetchView(); });
  addEventListener('resize', () => drawn && pose.isFitted && fit());
  document.addEventListener('visibilitychange', () => !document.hidden && !held && !isPaused && fetchView());
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', render);
  fetchView();
  if (!held) listen();
}

begin();
