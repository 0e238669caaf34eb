// The filter: the words of the command line, or plain text.

const FILTER_WORDS = ['service', 'from-service', 'to-service', 'project', 'network', 'container', 'port', 'to-port', 'protocol', 'verdict', 'kind', 'severity', 'since', 'last', 'not'];
const SEVERITIES = ['info', 'low', 'medium', 'high'];

/** Reads `--from-service web --to-port 5432 --not text`; `word=value` and `word:value` do as well. */
function readFilter(text, now) {
  const filter = { words: {}, texts: [], not: false, since: -Infinity, severity: -1, mistake: '' };
  const parts = (text.match(/(?:[^\s"']|"[^"]*"|'[^']*')+/g) || []).map(part => part.replace(/"([^"]*)"|'([^']*)'/g, '$1$2'));
  while (parts.length > 0) {
    const part = parts.shift();
    const dashed = /^--([a-z-]+)(?:=(.*))?$/s.exec(part);
    const plain = /^([a-z-]+)[=:](.+)$/s.exec(part);
    const word = dashed ? dashed[1] : plain && FILTER_WORDS.includes(plain[1]) ? plain[1] : '';
    if (word === '') {
      filter.texts.push(part.toLowerCase());
    } else if (!FILTER_WORDS.includes(word)) {
      filter.mistake = `--${word}: no such word; there are ${FILTER_WORDS.map(known => `--${known}`).join(', ')}`;
    } else if (word === 'not') {
      filter.not = true;
    } else {
      const value = dashed ? dashed[2] ?? parts.shift() : plain[2];
      if (value === undefined || value === '') filter.mistake = `--${word}: a value is missing`;
      else takeWord(filter, word, value.toLowerCase(), now);
    }
  }
  return filter;
}

function takeWord(filter, word, value, now) {
  if (word === 'severity') {
    filter.severity = SEVERITIES.indexOf(value);
    if (filter.severity < 0) filter.mistake = `--severity ${value}: one of ${SEVERITIES.join(', ')}`;
  } else if (word === 'since' || word === 'last') {
    const span = /^(\d+)(s|m|h|d)$/.exec(value);
    const seconds = { s: 1, m: 60, h: 3600, d: 86400 };
    filter.since = span ? now - Number(span[1]) * seconds[span[2]] * 1000 : Date.parse(value.toUpperCase());
    if (Number.isNaN(filter.since)) filter.mistake = `--${word} ${value}: write 5m, 1h or a time (RFC 3339)`;
  } else if ((word === 'port' || word === 'to-port') && !/^\d+(\/[a-z0-9-]+)?$/.test(value)) {
    filter.mistake = `--${word} ${value}: write 5432 or 5432/tcp`;
  } else {
    (filter.words[word === 'to-port' ? 'port' : word] ||= []).push(value);
  }
}

function isService(name, wanted) {
  name = name.toLowerCase();
  return name === wanted || name.split('/').pop() === wanted;
}

function isPort(seen, wanted) {
  return seen !== null && (port(seen) === wanted || String(seen.port) === wanted);
}

function isKind(name, wanted) {
  const plain = text => text.toLowerCase().replace(/[ -]/g, '_');
  return plain(name).includes(plain(wanted));
}

/** Says whether something fits: of one word any value may fit, of several words all must; --not turns names round. */
function fitsFilter(filter, thing) {
  const any = (word, test) => !filter.words[word] || filter.words[word].some(test);
  const fits = any('service', value => isService(thing.from, value) || isService(thing.to, value))
    && any('from-service', value => isService(thing.from, value))
    && any('to-service', value => isService(thing.to, value))
    && any('project', value => [thing.from, thing.to].some(name => name.toLowerCase().startsWith(`${value}/`)))
    && any('network', value => thing.networks.some(name => name.toLowerCase() === value))
    && any('container', value => thing.containers.some(name => name.toLowerCase().includes(value)))
    && any('port', value => isPort(thing.port, value))
    && any('protocol', value => thing.port !== null && thing.port.protocol === value)
    && any('verdict', value => thing.verdicts.some(verdict => isKind(verdict, value)))
    && any('kind', value => thing.kinds.some(kind => isKind(kind, value)))
    && filter.texts.every(text => thing.text.includes(text));
  const isAsked = Object.keys(filter.words).length > 0 || filter.texts.length > 0;
  return (filter.not && isAsked ? !fits : fits) && thing.severity >= filter.severity && thing.lastAt >= filter.since;
}

/** An edge as the filter sees it. */
function edgeSeen(edge, findings) {
  const own = edge.findings.map(id => findings.get(id)).filter(Boolean);
  return {
    from: edge.source, to: edge.target, port: edge.port, networks: [edge.network],
    containers: edge.between.flatMap(pair => [pair.initiator, pair.responder]),
    verdicts: [edge.verdict, edge.word], kinds: own.map(finding => finding.kind),
    severity: edge.severity === null ? -1 : SEVERITIES.indexOf(edge.severity), lastAt: milliseconds(edge.last_at),
    text: `${edge.id} ${edge.verdict_words} ${edge.word} ${edge.documented_by}`.toLowerCase(),
  };
}

/** A finding as the filter sees it. */
function findingSeen(finding) {
  return {
    from: finding.initiator, to: finding.responder, port: finding.port, networks: [],
    containers: [...finding.initiator_containers, ...finding.responder_containers],
    verdicts: [finding.kind], kinds: [finding.kind], severity: finding.severity_rank, lastAt: milliseconds(finding.last_at),
    text: `${finding.initiator} ${finding.responder} ${finding.port ? port(finding.port) : ''} ${finding.kind_words} ${finding.severity} ${finding.summary} ${finding.id}`.toLowerCase(),
  };
}

/** A flow as the filter sees it; what was found of it stands on its edge. */
function flowSeen(flow, edge) {
  const seenPort = { port: flow.dest.port, protocol: String(flow.proto).toLowerCase() };
  return {
    from: flow.src.service, to: flow.dest.service, port: seenPort, networks: [flow.network],
    containers: [flow.src.container, flow.dest.container],
    verdicts: edge ? [edge.verdict, edge.word] : [], kinds: edge ? edge.kinds : [],
    severity: edge ? edge.severity : -1, lastAt: milliseconds(flow.last_at),
    text: `${flow.src.service} ${flow.dest.service} ${port(seenPort)} ${flow.src.ip} ${flow.dest.ip} ${flow.src.container} ${flow.dest.container} ${flow.outcome} ${flow.community_id}`.toLowerCase(),
  };
}
