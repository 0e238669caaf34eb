// The filter: the words of the command line, or plain text.

const FILTER_WORDS = ['service', 'from-service', 'to-service', 'project', 'network', 'container', 'port', 'to-port', 'protocol', 'verdict', 'kind', 'severity', 'since', 'not'];
const SEVERITIES = ['info', 'low', 'medium', 'high'];
const OUTCOMES = ['pending', 'answered', 'refused', 'unanswered', 'blocked'];
const VERDICTS = ['documented', 'allowed', 'learned', 'unjudged', 'undeclared', 'unattributed', 'undocumented_port', 'unexpected_peer', 'denied', 'forbidden', 'new_edge', 'spoofed_source', 'backscatter'];

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
      else takeWord(filter, word, value, now);
    }
  }
  return filter;
}

function takeWord(filter, word, value, now) {
  if (word === 'severity') {
    filter.severity = SEVERITIES.indexOf(value.toLowerCase());
    if (filter.severity < 0) filter.mistake = `--severity ${value}: one of ${SEVERITIES.join(', ')}`;
  } else if (word === 'since') {
    const span = /^(\d+)(ms|s|m|h|)$/.exec(value);
    const seconds = { ms: 0.001, s: 1, '': 1, m: 60, h: 3600 };
    filter.since = span ? now - Number(span[1]) * seconds[span[2]] * 1000 : Date.parse(value.toUpperCase());
    if (Number.isNaN(filter.since)) filter.mistake = `--${word} ${value}: write 5m, 1h or a time (RFC 3339)`;
  } else if ((word === 'port' || word === 'to-port') && !/^\d+(\/(tcp|udp|sctp|icmp|icmp6|ip-\d+))?$/.test(value)) {
    filter.mistake = `--${word} ${value}: write 5432 or 5432/tcp`;
  } else if (word === 'verdict' && ![...OUTCOMES, ...VERDICTS].includes(value)) {
    filter.mistake = `--verdict ${value}: one of ${OUTCOMES.join(', ')}, or of ${VERDICTS.join(', ')}`;
  } else {
    (filter.words[word === 'to-port' ? 'port' : word] ||= []).push(value);
  }
}

/** Says whether a text fits a pattern, in which `*` stands for any characters. */
function matches(pattern, text) {
  const [head, ...parts] = pattern.split('*');
  if (parts.length === 0) return pattern === text;
  if (!text.startsWith(head)) return false;
  const tail = parts.pop();
  let from = head.length;
  for (const part of parts) {
    const at = text.indexOf(part, from);
    if (at < 0) return false;
    from = at + part.length;
  }
  return text.length - from >= tail.length && text.endsWith(tail);
}

/** Says whether a service is meant by a name: `shop/db`, `db` without its project, `shop/*`. */
function isService(name, wanted) {
  const slash = name.lastIndexOf('/');
  return matches(wanted, name) || (slash >= 0 && matches(wanted, name.slice(slash + 1)));
}

function isPort(seen, wanted) {
  return seen !== null && (port(seen) === wanted || String(seen.port) === wanted);
}

function isKind(name, wanted) {
  return name === wanted.toLowerCase().replace(/[ -]/g, '_');
}

/** Says whether something fits: of one word any value may fit, of several words all must; --not turns names round. */
function fitsFilter(filter, thing) {
  const any = (word, test) => !filter.words[word] || filter.words[word].some(test);
  const fits = any('service', value => isService(thing.from, value) || isService(thing.to, value))
    && any('from-service', value => isService(thing.from, value))
    && any('to-service', value => isService(thing.to, value))
    && any('project', value => [thing.from, thing.to].some(name => name.startsWith(`${value}/`)))
    && any('network', value => thing.networks.some(name => matches(value, name)))
    && any('container', value => thing.containers.some(name => name.toLowerCase().includes(value.toLowerCase())))
    && any('port', value => isPort(thing.port, value))
    && any('protocol', value => thing.port !== null && thing.port.protocol === value)
    && any('verdict', value => thing.verdicts.includes(value))
    && any('kind', value => thing.kinds.some(kind => isKind(kind, value)))
    && filter.texts.every(text => thing.text.includes(text));
  const isAsked = Object.keys(filter.words).length > 0 || filter.texts.length > 0;
  return (filter.not && isAsked ? !fits : fits) && thing.severity >= filter.severity && thing.lastAt >= filter.since;
}

/** What an edge's connections came to, where they all came to the same. */
function commonOutcome({ answered, refused, unanswered, blocked }) {
  const counts = { answered, refused, unanswered, blocked };
  const came = Object.keys(counts).filter(word => counts[word] > 0);
  return came.length === 1 ? came[0] : '';
}

/** An edge as the filter sees it. */
function edgeSeen(edge, findings) {
  const own = edge.findings.map(id => findings.get(id)).filter(Boolean);
  return {
    from: edge.source, to: edge.target, port: edge.port, networks: [edge.network],
    verdict: edge.verdict, containers: edge.between.flatMap(pair => [pair.initiator, pair.responder]),
    verdicts: [edge.verdict, commonOutcome(edge.connections)], kinds: own.map(finding => finding.kind),
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
    verdicts: [flow.outcome, edge ? edge.verdict : ''], kinds: edge ? edge.kinds : [],
    severity: edge ? edge.severity : -1, lastAt: milliseconds(flow.last_at),
    text: `${flow.src.service} ${flow.dest.service} ${port(seenPort)} ${flow.src.ip} ${flow.dest.ip} ${flow.src.container} ${flow.dest.container} ${flow.outcome} ${flow.community_id}`.toLowerCase(),
  };
}
