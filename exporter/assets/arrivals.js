// What comes in: views of one time or two, flows, and news that there is another. The page draws them.

function rate(before, after) {
  const found = new Map();
  const known = before && before.map.group === after.map.group ? new Map(before.map.edges.map(edge => [edge.id, edge])) : null;
  const since = known ? milliseconds(before.at) : milliseconds(after.from);
  const seconds = (milliseconds(after.at) - since) / 1000;
  for (const edge of after.map.edges) {
    const earlier = known && known.get(edge.id);
    const more = edge.sent.bytes + edge.received.bytes - (earlier ? earlier.sent.bytes + earlier.received.bytes : 0);
    found.set(edge.id, seconds > 0 ? Math.max(0, more) / seconds : 0);
  }
  return found;
}

function take(next) {
  const isNext = view && !shown.at && milliseconds(next.at) > milliseconds(view.at) && next.map.group === view.map.group;
  if (view && isNext) {
    const known = new Set(view.map.edges.map(edge => edge.id));
    fresh = new Set(next.map.edges.filter(edge => !known.has(edge.id)).map(edge => edge.id));
  } else {
    fresh = new Set();
  }
  if (!view || isNext || milliseconds(next.at) !== milliseconds(view.at) || next.map.group !== view.map.group) rates = rate(isNext ? view : null, next);
  view = next;
  render();
}

/** At most one question at a time, and none sooner than the last answer took to draw, four times over. */
let isAsking = false;
let isWanted = false;
let restUntil = 0;

async function fetchView() {
  if (held) {
    take(held.views.find(own => own.map.group === shown.group));
    return;
  }
  if (isAsking) {
    isWanted = true;
    return;
  }
  isAsking = true;
  const question = wanted();
  const from = performance.now();
  try {
    const next = await ask(address(shown.at));
    const other = shown.vs ? await ask(address(shown.vs)) : null;
    isLost = false;
    if (question === wanted()) {
      compared = other ? compare(other, next) : null;
      take(next);
    } else {
      // An answer to what nobody asks any more.
      isWanted = true;
    }
    if (shown.tab === 'flows' && !shown.at) fetchFlows();
  } catch (error) {
    isLost = true;
    $('misread').hidden = false;
    $('misread').textContent = visible(error.message);
    if (view) renderStrip(readFilter(shown.q, milliseconds(view.at)));
  }
  restUntil = performance.now() + 4 * (performance.now() - from);
  isAsking = false;
  if (isWanted) {
    isWanted = false;
    fetchView();
  }
}

/** Where the map of a time is asked for; the plain question is answered once for all who look. */
function address(at) {
  const asked = new URLSearchParams();
  if (shown.boxes !== 'project') asked.set('boxes', shown.boxes);
  if (shown.group !== 'service') asked.set('group', shown.group);
  if (at) asked.set('at', at);
  const text = asked.toString();
  return text ? `/api/v1/map?${text}` : '/api/v1/map';
}

async function ask(path) {
  const answer = await fetch(path, { cache: 'no-store', credentials: 'same-origin' });
  const said = await answer.json();
  if (!answer.ok) throw new Error(said.error || `the daemon answers ${answer.status}`);
  return said;
}

async function fetchFlows() {
  if (held) {
    flows = held.flows;
  } else {
    try {
      flows = (await ask('/api/v1/flows?limit=2000')).flows;
    } catch (error) {
      flows = flows || [];
    }
  }
  render();
}

/** Listens to the daemon; whoever falls behind is told how much was skipped, and asks for the latest alone. */
function listen() {
  const stream = new EventSource('/api/v1/stream');
  let waiting = 0;
  stream.addEventListener('tick', event => {
    const news = JSON.parse(event.data);
    missed += news.missed;
    if (isLost) isLost = false;
    if (isPaused || shown.at || document.hidden || waiting) return;
    waiting = setTimeout(() => { waiting = 0; fetchView(); }, Math.max(0, restUntil - performance.now()));
  });
  stream.onerror = () => {
    // It comes back by itself; the daemon ends every connection after a while.
    if (stream.readyState === EventSource.CLOSED) {
      isLost = true;
      setTimeout(listen, 5000);
    }
    if (view) renderStrip(readFilter(shown.q, milliseconds(view.at)));
  };
}

// ---- comparing ----

/** What became of one picture in another: nodes and edges that came or went, verdicts that changed. */
function compare(before, after) {
  const old = new Map(before.map.edges.map(edge => [edge.id, edge]));
  const now = new Map(after.map.edges.map(edge => [edge.id, edge]));
  // Outside and host may stand on a map twice.
  const oldNodes = new Map(before.map.nodes.map(node => [node.id, node]));
  const nodes = new Map(after.map.nodes.map(node => [node.id, node]));
  return {
    at: before.at,
    added: new Set([...now.keys()].filter(id => !old.has(id))),
    gone: [...old.values()].filter(edge => !now.has(edge.id)),
    changed: [...now.values()].filter(edge => old.has(edge.id) && said(old.get(edge.id)) !== said(edge)).map(edge => ({ edge, was: said(old.get(edge.id)) })),
    nodesAdded: [...nodes.values()].filter(node => !oldNodes.has(node.id)),
    nodesGone: [...oldNodes.values()].filter(node => !nodes.has(node.id)),
  };
}

/** How an edge is judged, and what else is to be said about it. */
function said(edge) {
  return edge.word && edge.word !== edge.verdict_words ? `${edge.verdict_words}, ${edge.word}` : edge.verdict_words;
}

function listChanges() {
  const { added, gone, changed, nodesAdded, nodesGone } = compared;
  const item = (sign, words, id, kind) => make('li', {}, kind
    ? make('button', { type: 'button', [`data-${kind}`]: id }, make('span', { class: 'severity' }, `${sign} ${words}`), make('span', { class: 'who' }, visible(id)))
    : make('div', { class: 'none' }, `${sign} ${words} `, make('span', { class: 'who' }, visible(id))));
  const kind = node => (node.kind === 'workload' ? view.map.group : node.kind);
  const count = added.size + gone.length + changed.length + nodesAdded.length + nodesGone.length;
  return [
    make('li', { class: 'none' }, make('strong', {}, count === 0 ? 'No difference' : counted(count, 'difference', 'differences')), ` to ${clock(compared.at)} UTC`),
    ...changed.map(({ edge, was }) => item('≠', `${was}; then ${said(edge)}`, edge.id, 'edge')),
    ...view.map.edges.filter(edge => added.has(edge.id)).map(edge => item('+', `edge added: ${said(edge)}`, edge.id, 'edge')),
    ...gone.map(edge => item('−', `edge gone: ${said(edge)}`, edge.id, '')),
    ...nodesAdded.map(node => item('+', `${kind(node)} added`, node.id, 'node')),
    ...nodesGone.map(node => item('−', `${kind(node)} gone`, node.id, '')),
  ];
}

async function fillTimes() {
  const { snapshots } = await ask('/api/v1/snapshots');
  const options = first => [make('option', { value: '' }, first), ...[...snapshots].reverse().map(at => make('option', { value: at }, `${clock(at)} UTC`))];
  $('at').replaceChildren(...options('now'));
  $('against').replaceChildren(...options('nothing'));
  $('at').value = shown.at;
  $('against').value = shown.vs;
  $('travelled').textContent = snapshots.length === 0 ? 'no snapshots are kept: set directory in [snapshots]' : counted(snapshots.length, 'snapshot', 'snapshots');
}
