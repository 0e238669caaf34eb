// Beside the picture: findings, details, tables.

function who(finding) {
  const seen = finding.port ? `:${port(finding.port)}` : '';
  return visible(`${finding.initiator} → ${finding.responder}${seen}`);
}

/** Lists findings: what, who, since when, why, and what to do. */
function listFindings(list, view, findings, chosen) {
  const items = findings.map(finding => make('li', {},
    make('button', { type: 'button', 'data-finding': finding.id, 'data-severity': finding.severity, 'aria-current': chosen === finding.id ? 'true' : null },
      make('span', { class: 'since', title: finding.first_at }, `since ${clock(finding.first_at, view.at)}`),
      make('span', { class: 'severity', 'data-severity': finding.severity }, finding.severity), ` ${finding.kind_words}`,
      make('span', { class: 'who' }, who(finding)),
      make('span', { class: 'what' }, visible(`${finding.reached ? `${finding.reached}: ` : ''}${finding.summary}`)),
      make('span', { class: 'todo' }, visible(`Against: ${finding.against || 'nothing documented'}`)),
      make('span', { class: 'todo' }, `To do: ${finding.remedy}`))));
  if (items.length === 0) {
    const none = view.findings.length > 0 ? 'No finding fits the filter.' : 'None. What is shown was judged as far as it is documented.';
    items.push(make('li', { class: 'none' }, none));
  }
  if (view.findings_left_out > 0) items.push(make('li', { class: 'none' }, `${counted(view.findings_left_out, 'further finding', 'further findings')}: portolan findings`));
  if (view.findings_handled > 0) items.push(make('li', { class: 'none' }, `${grouped(view.findings_handled)} acknowledged or suppressed: portolan findings --handled`));
  list.replaceChildren(...items);
}

function defined(...pairs) {
  const list = make('dl', {});
  for (const [name, value] of pairs) {
    if (value !== '' && value !== null && value !== undefined) list.append(make('dt', {}, name), make('dd', {}, value));
  }
  return list;
}

function link(text, kind, value) {
  return make('button', { type: 'button', class: 'link', [`data-${kind}`]: value }, visible(text));
}

function commands(...all) {
  return all.map(command => make('code', {}, visible(command)));
}

function table(heads, rows) {
  const isNumber = head => head.startsWith('#');
  return make('table', {},
    make('thead', {}, make('tr', {}, ...heads.map(head => make('th', { scope: 'col', class: isNumber(head) ? 'number' : null }, head.replace('#', ''))))),
    make('tbody', {}, ...rows.map(({ cells, attributes, looks }) => make('tr', attributes,
      ...cells.map((cell, place) => make('td', { class: isNumber(heads[place]) ? 'number' : null, 'data-look': looks && looks[place], title: visible(cell) }, visible(cell)))))));
}

function describeFinding(view, finding) {
  const edges = view.map.edges.filter(edge => edge.findings.includes(finding.id));
  const id = `F-${finding.id.slice(0, 6)}`;
  return [
    make('h2', { id: 'details-title' }, who(finding)),
    make('span', { class: 'said', 'data-look': finding.severity_rank > 1 ? 'fault' : 'plain' }, `${finding.severity}: ${finding.kind_words}`),
    defined(['what', visible(finding.summary)], ['how far', finding.reached], ['against', visible(finding.against)],
      ['since', clock(finding.first_at)], ['last seen', clock(finding.last_at, finding.first_at)],
      ['connections', grouped(finding.connections)], ['frames', grouped(finding.frames)],
      ['from', visible(finding.initiator_containers.join(', '))], ['to', visible(finding.responder_containers.join(', '))],
      ['coverage', finding.complete === true ? 'complete while it was seen' : finding.complete === false ? 'something was missed while it was seen' : 'unknown'],
      ['id', id]),
    make('h3', {}, 'What to do'), make('p', {}, finding.remedy),
    ...(edges.length > 0 ? [make('h3', {}, 'Edges'), ...edges.map(edge => link(edge.id, 'edge', edge.id))] : []),
    make('h3', {}, 'On the host'),
    ...commands(...edges.slice(0, 1).map(edge => `portolan why ${quoted(`${edge.source} -> ${edge.target}:${port(edge.port)}`)}`), `portolan ack ${id} --reason '...'`),
    ...(finding.wireshark_filter ? [make('h3', {}, 'In Wireshark'), ...commands(finding.wireshark_filter)] : []),
  ];
}

function describeEdge(view, edge, rate) {
  const own = view.findings.filter(finding => edge.findings.includes(finding.id));
  const said = edge.word || edge.verdict_words;
  return [
    make('h2', { id: 'details-title' }, visible(`${edge.source} → ${edge.target}:${port(edge.port)}`)),
    make('span', { class: 'said', 'data-look': edge.look }, said),
    ...own.map(finding => make('p', {}, make('span', { class: 'severity', 'data-severity': finding.severity }, finding.severity), ` ${visible(finding.summary)}. ${finding.remedy}`)),
    defined(['verdict', edge.verdict_words], ['documented by', visible(edge.documented_by || 'nothing')],
      ['decided by', visible(edge.decided_by.join('; '))], ['connections', outcomesInWords(edge.connections)],
      ['sent', bytes(edge.sent.bytes)], ['received', bytes(edge.received.bytes)], ['rate', `${bytes(rate)}/s`],
      ['round trip', roundTrip(edge.rtt_p50)], ['network', visible(edge.network || 'several, or none')], ['via', edge.via ? visible(edge.via) : ''],
      ['called there', namesInWords(edge)],
      ['since', clock(edge.first_at)], ['last seen', clock(edge.last_at, edge.first_at)],
      ['who called', edge.is_guess ? 'a guess: no connection was seen to open' : 'seen: the caller opened it']),
    make('h3', {}, 'Replicas'),
    table(['from', 'to', '#answered', '#failed', '#bytes'], edge.between.map(pair => ({ cells: [pair.initiator, pair.responder, grouped(pair.answered), grouped(pair.failed), bytes(pair.bytes)] }))),
    ...(edge.between_left_out > 0 ? [make('p', { class: 'quiet' }, `and ${counted(edge.between_left_out, 'further pair', 'further pairs')}`)] : []),
    make('h3', {}, 'Findings'), ...(own.length > 0 ? own.map(finding => link(`${finding.severity} ${finding.kind_words}`, 'finding', finding.id)) : [make('p', { class: 'quiet' }, 'none')]),
    make('h3', {}, 'On the host'),
    ...commands(`portolan why ${quoted(`${edge.source} -> ${edge.target}:${port(edge.port)}`)}`, `portolan record --edge ${quoted(`${edge.source} -> ${edge.target}:${port(edge.port)}`)} -w edge.pcapng`),
  ];
}

/** What the end outside is called, as the other end was told: claims, not facts. */
function namesInWords(edge) {
  const names = edge.names || [];
  const more = edge.names_left_out > 0 ? ` and ${counted(edge.names_left_out, 'further name', 'further names')}` : '';
  return visible(names.join(', ')) + more;
}

const JOINED_BY = {
  docker_socket: "Docker's socket", volume: 'volume', host_path: 'path of the host', network_namespace: 'network namespace of', pid_namespace: 'processes of',
  ipc_namespace: 'shared memory of', privileged: 'privileged', capability: 'capability',
};

/** What joins a node with others without a packet: who else, and how. */
function describeJoins(view, node) {
  const names = new Set(node.replicas.map(replica => replica.name));
  const isOwn = member => member.service === node.id || names.has(member.container);
  const rows = (view.joins || []).filter(join => join.members.some(isOwn)).map(join => {
    const others = join.members.filter(member => !isOwn(member)).map(member => `${member.container} (${member.how})`);
    const more = join.members_left_out > 0 ? [`${grouped(join.members_left_out)} more`] : [];
    const how = [...new Set(join.members.filter(isOwn).map(member => member.how))].join(', ');
    return { cells: [`${JOINED_BY[join.kind] || join.kind} ${join.kind === 'privileged' ? '' : join.what}`.trim(), how, [...others, ...more].join(', ') || 'the host alone'] };
  });
  if (view.joins_left_out > 0) rows.push({ cells: [`${grouped(view.joins_left_out)} further of this picture left out`, '', ''] });
  return rows.length > 0 ? [make('h3', {}, 'Joined without a packet'), table(['by', 'how', 'with'], rows)] : [];
}

function describeNode(view, number) {
  const node = view.map.nodes[number];
  const into = view.map.edges.filter(edge => edge.to_node === number);
  const out = view.map.edges.filter(edge => edge.from_node === number);
  const images = [...new Set(node.replicas.map(replica => replica.image))].join(', ');
  const call = edge => link(`${edge.source} → ${edge.target}:${port(edge.port)}${edge.word ? `  ${edge.word}` : ''}`, 'edge', edge.id);
  const findings = view.findings.filter(finding => finding.initiator === node.id || finding.responder === node.id);
  return [
    make('h2', { id: 'details-title' }, visible(node.id)),
    defined(['kind', node.kind === 'workload' ? 'service' : node.kind], ['note', node.note], ['image', visible(images)], ['networks', visible(node.networks.join(', '))],
      ['sent', bytes(node.sent_bytes)], ['received', bytes(node.received_bytes)],
      ['called there', visible([...new Set([...into, ...out].flatMap(edge => (node.kind === 'external' && edge.names) || []))].join(', '))],
      ['serves', node.rows.map(row => `${row.label}${row.word ? ` (${row.word})` : ''}`).join(', ')]),
    ...(findings.length > 0 ? [make('h3', {}, 'Findings'), ...findings.map(finding => link(`${finding.severity} ${finding.kind_words}: ${who(finding)}`, 'finding', finding.id))] : []),
    ...(node.replicas.length > 0 ? [make('h3', {}, counted(node.replicas.length + node.replicas_left_out, 'replica', 'replicas')),
      table(['container', '#sent', '#received'], node.replicas.map(replica => ({ cells: [replica.name + (replica.unobservable ? ` (not observable: ${replica.unobservable})` : ''), bytes(replica.sent_bytes), bytes(replica.received_bytes)] })))] : []),
    ...describeJoins(view, node),
    make('h3', {}, `Called by (${into.length})`), ...into.slice(0, 40).map(call),
    make('h3', {}, `Calls (${out.length})`), ...out.slice(0, 40).map(call),
    link('Show only this', 'only', node.id),
  ];
}

/** The table of edges: what has a finding first, then the loudest. */
function edgeTable(edges, rates, chosen) {
  return table(['from', 'to', '', '#connections', '#failed', '#sent', '#received', '#now', '#rtt p50', 'verdict', 'documented by'], edges.map(edge => ({
    attributes: { 'data-edge': edge.id, tabindex: -1, 'aria-selected': chosen === edge.id ? 'true' : 'false' },
    looks: { 2: edge.look, 9: edge.look },
    cells: [edge.source, `${edge.target}:${port(edge.port)}${edge.via ? ` via ${edge.via}` : ''}`, edge.findings.length > 0 ? '!' : '',
      grouped(attempted(edge.connections)), grouped(failed(edge.connections)), bytes(edge.sent.bytes), bytes(edge.received.bytes),
      `${bytes(rates.get(edge.id) || 0)}/s`, roundTrip(edge.rtt_p50), edge.word || edge.verdict_words, edge.documented_by || 'nothing'],
  })));
}

function flowTable(flows) {
  return table(['first seen', 'from', 'to', 'outcome', '#sent', '#received', '#rtt', 'state', 'history', 'community id'], flows.map(flow => ({
    attributes: { tabindex: -1 },
    cells: [clock(flow.first_at).slice(11), `${flow.src.container || flow.src.service} ${flow.src.ip}:${flow.src.port ?? ''}`, `${flow.dest.container || flow.dest.service} ${flow.dest.ip}:${flow.dest.port ?? ''}/${flow.proto}`,
      String(flow.outcome), bytes(flow.sent.bytes), bytes(flow.received.bytes), roundTrip(flow.rtt), flow.ended ? `ended: ${flow.ended}` : 'open', flow.history, flow.community_id],
  })));
}
