// The page in a headless Chromium, clicked through. Called by scripts/browser.
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';

const { MODULES, CHROMIUM, SERVE, PORTOLAN, RESULT, ALONE, PICTURES } = process.env;
const { chromium } = await import(pathToFileURL(`${MODULES}/playwright-core/index.mjs`).href);
mkdirSync(PICTURES, { recursive: true });

/** Serves something and returns its address. */
function serve(what) {
  const child = spawn(SERVE, [what], { stdio: ['pipe', 'pipe', 'inherit'] });
  return new Promise((resolve, reject) => {
    let said = '';
    child.on('exit', code => reject(new Error(`serve ${what} ended with ${code}`)));
    child.stdout.on('data', part => {
      said += part;
      if (said.includes('\n')) resolve({ address: said.trim(), end: () => { child.removeAllListeners('exit'); child.stdin.end(); } });
    });
  });
}

const browser = await chromium.launch({ executablePath: CHROMIUM, args: ['--no-sandbox'] });
let failures = 0;

/** Opens a page that may ask nobody but its host and say nothing on the console. */
async function open(address, { hash = '', size = { width: 1280, height: 720 }, colorScheme = 'light' } = {}) {
  const context = await browser.newContext({ viewport: size, colorScheme });
  const page = await context.newPage();
  const wrong = [];
  page.on('console', message => ['error', 'warning'].includes(message.type()) && wrong.push(`console: ${message.text()}`));
  page.on('pageerror', error => wrong.push(`error: ${error.message}`));
  page.on('dialog', dialog => { wrong.push(`dialog: ${dialog.message()}`); dialog.dismiss(); });
  page.on('request', request => !request.url().startsWith(address.split('#')[0]) && wrong.push(`request: ${request.url()}`));
  await page.goto(address + hash);
  await page.locator('#scene .node').first().waitFor();
  return { page, wrong, close: () => context.close() };
}

async function check(name, act) {
  try {
    await act();
    console.log(`ok      ${name}`);
  } catch (error) {
    failures += 1;
    console.log(`FAILED  ${name}\n${error.stack}`);
  }
}

const picture = (page, name) => page.screenshot({ path: `${PICTURES}/${name}.png` });
const texts = (page, selector) => page.locator(selector).allTextContents();
const hash = page => new URL(page.url()).hash;

/** Cards that lie upon each other, and texts that leave their card. */
const untidy = page => page.evaluate(() => {
  const found = [];
  const cards = [...document.querySelectorAll('#scene .node')].map(node => ({ node, box: node.querySelector('.card').getBoundingClientRect() }));
  cards.forEach(({ node, box }, place) => {
    for (const text of node.querySelectorAll('text')) {
      const own = text.getBoundingClientRect();
      if (own.left < box.left || own.right > box.right + 1) found.push(`${text.textContent} leaves its card`);
    }
    for (const row of node.querySelectorAll('.row')) {
      const [port, word] = [row.querySelector('.port'), row.querySelector('.word')];
      if (word && port.getBoundingClientRect().right > word.getBoundingClientRect().left) found.push(`${row.textContent} runs into itself`);
    }
    for (const other of cards.slice(place + 1)) {
      if (box.left < other.box.right && other.box.left < box.right && box.top < other.box.bottom && other.box.top < box.bottom) found.push(`${node.textContent} lies upon ${other.node.textContent}`);
    }
  });
  return found;
});

const shop = await serve(RESULT);

await check('findings, completeness and the whole map are seen without a click', async () => {
  const { page, wrong, close } = await open(shop.address);
  await page.locator('#state').filter({ hasText: 'live' }).waitFor();
  const findings = await texts(page, '#finding-list button');
  assert.ok(findings.length >= 3, findings.join('\n'));
  for (const part of ['undocumented port', 'shop/web → shop/cart:9229/tcp', 'since ', 'Against: ', 'To do: ']) assert.ok(findings.some(text => text.includes(part)), part);
  assert.match(await page.locator('#completeness').textContent(), /^complete/);
  const titles = await texts(page, '#scene .node .title');
  for (const title of ['web', 'cart', 'db', 'external', 'host']) assert.ok(titles.includes(title), titles.join());
  const inFrame = await page.evaluate(() => {
    const frame = document.getElementById('map').getBoundingClientRect();
    return [...document.querySelectorAll('#scene .node')].every(node => {
      const box = node.getBoundingClientRect();
      return box.left >= frame.left && box.right <= frame.right && box.top >= frame.top && box.bottom <= frame.bottom;
    });
  });
  assert.ok(inFrame, 'every card lies in the frame');
  assert.deepEqual(await untidy(page), []);
  assert.ok((await texts(page, '.row-fault .word')).includes('undocumented'), 'a verdict has a word');
  const looks = await page.evaluate(() => ['plain', 'fault', 'failed'].map(look => getComputedStyle(document.querySelector(`#scene .edge.${look} > .line`))).map(style => `${style.stroke} ${style.strokeDasharray} ${parseFloat(style.strokeWidth) >= 2.5}`));
  assert.equal(new Set(looks).size, 3, looks.join('; '));
  await picture(page, 'shop');
  assert.deepEqual(wrong, []);
  await close();
});

await check('a click on a finding shows its edge, what to do and how to ask further; Escape takes it back', async () => {
  const { page, wrong, close } = await open(shop.address);
  await page.locator('#finding-list button', { hasText: '9229/tcp' }).click();
  const details = page.locator('#details');
  for (const part of ['What to do', 'Document the port', 'portolan ack F-', 'portolan why']) assert.ok((await details.textContent()).includes(part), part);
  assert.match(hash(page), /sel=finding/);
  assert.equal(await page.locator('#scene .edge.chosen').count(), 1);
  await details.locator('.link[data-edge]').first().click();
  for (const part of ['verdict', 'documented by', 'nothing', 'decided by', 'Replicas', 'connections', 'who called']) assert.ok((await details.textContent()).includes(part), part);
  await picture(page, 'details');
  await page.keyboard.press('Escape');
  assert.ok(await details.isHidden());
  assert.equal(hash(page), '');
  assert.deepEqual(wrong, []);
  await close();
});

await check('one filter narrows map, findings and tables, stands in the address, and says what it cannot read', async () => {
  const { page, wrong, close } = await open(shop.address);
  await page.keyboard.press('/');
  await page.keyboard.type('--to-service cart --to-port 9229');
  assert.match(hash(page), /q=--to-service/);
  assert.match(await page.locator('#findings-title').textContent(), /^Findings \(1 of/);
  assert.match(await page.locator('#shown').textContent(), /^1 of \d+ edges/);
  assert.equal(await page.locator('#scene .edge:not(.dim)').count(), 1);
  await page.locator('#tab-flows').click();
  await page.locator('#shown').filter({ hasText: 'flows listed' }).waitFor();
  for (const row of await texts(page, '#table tbody tr')) assert.ok(row.includes(':9229'), row);
  await picture(page, 'filter');
  const again = await open(shop.address, { hash: hash(page) });
  assert.equal(await again.page.locator('#filter').inputValue(), '--to-service cart --to-port 9229');
  assert.equal(await again.page.locator('#tab-flows').getAttribute('aria-selected'), 'true');
  assert.deepEqual(again.wrong, []);
  await again.close();
  const cases = [
    ['--to-prot 5432', 'no such word'], ['--severity loud', 'one of info, low'], ['--since soon', 'write 5m'], ['--port http', 'write 5432'], ['--service', 'a value is missing'],
    ['--last 5m', 'no such word'], ['--verdict document', 'one of pending'], ['--to-port 5432/foo', 'write 5432'],
  ];
  for (const [text, said] of cases) {
    await page.locator('#filter').fill(text);
    assert.ok((await page.locator('#misread').textContent()).includes(said), text);
  }
  const fits = async text => {
    await page.locator('#filter').fill(text);
    await page.locator('#tab-edges').click();
    return Number((await page.locator('#shown').textContent()).split(' ')[0]);
  };
  const all = await fits('');
  const db = await fits('--service db');
  assert.ok(db > 0 && db < all);
  assert.equal(await fits('--service db --not'), all - db);
  assert.ok(await fits('--severity medium') >= 2);
  assert.equal(await fits('--service db --severity high'), 1);
  assert.equal(await fits('--verdict undocumented_port'), 1);
  // The command line's words mean the same here.
  const asked = words => JSON.parse(execFileSync(PORTOLAN, ['graph', '--from', RESULT, '--format', 'json', ...words.split(' ')])).edges.length;
  for (const words of ['--verdict documented', '--verdict answered', '--service shop/*', '--service db', '--to-service d* --not']) {
    assert.equal(await fits(words), asked(words), words);
  }
  assert.ok(await fits('--verdict answered') > 0 && await fits('--service shop/*') > 0);
  await page.locator('#filter').fill('--verdict answered');
  await page.locator('#tab-flows').click();
  assert.match(await page.locator('#shown').textContent(), /^[1-9]\d* of /);
  assert.equal(await fits('--project shop --protocol udp --from-service nobody'), 0);
  assert.deepEqual(wrong, []);
  await close();
});

await check('keys alone reach services, boxes, findings and rows, and the focus is seen', async () => {
  const { page, wrong, close } = await open(shop.address);
  await page.locator('#map').focus();
  for (const key of ['ArrowRight', 'ArrowRight', 'ArrowRight', 'ArrowDown']) await page.keyboard.press(key);
  assert.equal(await page.locator('#scene .node.here').count(), 1);
  const said = await page.locator('#here').getAttribute('aria-label');
  assert.match(said, /service|external|host|box/);
  assert.equal(await page.locator('#map').getAttribute('aria-activedescendant'), 'here');
  await page.keyboard.press('Enter');
  assert.ok(await page.locator('#details').isVisible());
  await page.keyboard.press('Escape');
  assert.ok(await page.locator('#details').isHidden());
  await page.locator('#finding-list button').first().focus();
  await page.keyboard.press('ArrowDown');
  assert.equal(await page.evaluate(() => [...document.querySelectorAll('#finding-list button')].indexOf(document.activeElement)), 1);
  const outline = await page.evaluate(() => getComputedStyle(document.activeElement).outlineStyle);
  assert.notEqual(outline, 'none');
  await page.locator('#map').focus();
  const before = await page.locator('#scene .node').count();
  await page.keyboard.press('b');
  assert.ok(await page.locator('#scene .node').count() < before, 'boxes are closed');
  await page.keyboard.press('b');
  assert.equal(await page.locator('#scene .node').count(), before);
  const names = await page.evaluate(() => [...document.querySelectorAll('button, input, select, [role="tab"]')].filter(it => !(it.textContent.trim() || it.getAttribute('aria-label') || it.closest('label'))).map(it => it.outerHTML));
  assert.deepEqual(names, [], 'everything that is operated has a name');
  assert.deepEqual(wrong, []);
  await close();
});

await check('boxes by network and replicas as nodes', async () => {
  const { page, wrong, close } = await open(shop.address);
  await page.locator('#boxes').selectOption('network');
  await page.locator('#scene .heads .name', { hasText: 'shop_front' }).waitFor();
  await page.locator('#group').selectOption('container');
  await page.locator('#scene .title', { hasText: 'shop-cart-2' }).first().waitFor();
  assert.match(hash(page), /boxes=network&group=container/);
  assert.deepEqual(await untidy(page), []);
  await picture(page, 'replicas');
  assert.deepEqual(wrong, []);
  await close();
});

await check('the picture lives, can be held, and follows the dark', async () => {
  const { page, wrong, close } = await open(shop.address, { colorScheme: 'dark' });
  assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), 'dark');
  await picture(page, 'dark');
  const first = await page.locator('#state').textContent();
  await page.waitForFunction(text => document.getElementById('state').textContent !== text, first);
  await page.locator('#pause').click();
  assert.match(await page.locator('#state').textContent(), /^paused/);
  await page.locator('#pause').click();
  await page.locator('#state').filter({ hasText: 'live' }).waitFor();
  await page.keyboard.press('d');
  assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), 'light');
  assert.match(hash(page), /theme=light/);
  assert.deepEqual(wrong, []);
  await close();
});

await check('another time is looked at, and two are compared', async () => {
  const { page, wrong, close } = await open(shop.address);
  await page.keyboard.press('t');
  await page.locator('#against option').nth(1).waitFor({ state: 'attached' });
  const earliest = await page.locator('#against option').last().getAttribute('value');
  await page.locator('#against').selectOption(earliest);
  await page.locator('#finding-list').filter({ hasText: 'difference' }).waitFor();
  const changes = (await texts(page, '#finding-list li')).join('\n');
  assert.match(changes, /\+ edge added: (documented|unexpected peer|undocumented port)/);
  const came = await page.evaluate(() => {
    const { nodes, edges } = view.map;
    const without = id => ({ ...view, map: { ...view.map, nodes: nodes.filter(node => node.id !== id), edges: edges.filter(edge => edge.target !== id).map(edge => ({ ...edge, verdict_words: 'unjudged', word: '' })) } });
    const list = (before, after) => { compared = compare(before, after); return listChanges().map(item => item.textContent); };
    const before = compared;
    const told = [list(without('shop/db'), view), list(view, without('shop/db'))];
    compared = before;
    return told;
  });
  assert.ok(came[0].includes('+ service addedshop/db'), came[0].join('\n'));
  assert.ok(came[0].includes('+ edge added: unexpected peershop/reports -> shop/db:5432/tcp'));
  assert.ok(came[1].includes('− service gone shop/db'), came[1].join('\n'));
  assert.ok(came[1].includes('− edge gone: unexpected peer shop/reports -> shop/db:5432/tcp'));
  assert.ok(came[0].some(line => line.startsWith('≠ unjudged; then undocumented port')));
  assert.match(hash(page), /vs=/);
  assert.ok(await page.locator('#scene .edge.added').count() > 0);
  await picture(page, 'compare');
  await page.locator('#against').selectOption('');
  await page.locator('#at').selectOption(earliest);
  await page.locator('#state').filter({ hasText: 'as of' }).waitFor();
  assert.match(await page.locator('#findings-title').textContent(), /\(0\)/);
  assert.deepEqual(wrong, []);
  await close();
});

await check('no line lies upon what is written', async () => {
  const { page, close } = await open(shop.address);
  const order = await page.evaluate(() => [...document.querySelectorAll('#scene text, #scene .edge')].map(own => (own.matches('.edge') ? 'line' : 'text')).join(' '));
  assert.match(order, /^(line )+(text ?)+$/);
  await close();
});

await check('figures are written as reports write them', async () => {
  const { page, close } = await open(shop.address);
  const rows = readFileSync(new URL('../../../graphs/tests/figures.tsv', import.meta.url), 'utf8').split('\n').filter(row => row && !row.startsWith('#')).map(row => row.split('\t'));
  const written = await page.evaluate(rows => rows.map(([kind, figure]) => (kind === 'bytes' ? bytes : roundTrip)(Number(figure))), rows);
  assert.deepEqual(written, rows.map(row => row[2]));
  await close();
});

await check('details say what the outside is called, and what joins containers without a packet', async () => {
  const { page, close } = await open(shop.address);
  const told = await page.evaluate(() => {
    const edge = { ...view.map.edges[0], names: ['api.example', 'evil\u202e.example'], names_left_out: 2 };
    const node = { id: 'shop/web', replicas: [{ name: 'web-1' }] };
    const members = [{ service: 'shop/web', container: 'web-1', how: 'read' }, { service: 'shop/cart', container: 'cart-1', how: 'read and write' }];
    const joins = [{ kind: 'volume', what: 'uploads', members }, { kind: 'docker_socket', what: '/run/docker.sock', members: members.slice(0, 1) }, { kind: 'volume', what: 'other', members: members.slice(1) }];
    const words = parts => parts.map(part => part.textContent).join(' ');
    return [words(describeEdge(view, edge, 0)), words(describeJoins({ joins, joins_left_out: 3 }, node))];
  });
  assert.match(told[0], /called thereapi\.example, evil<U\+202E>\.example and 2 further names/);
  assert.match(told[1], /volume uploadsreadcart-1 \(read and write\)Docker's socket \/run\/docker\.sockreadthe host alone/);
  assert.match(told[1], /3 further of this picture left out/);
  assert.doesNotMatch(told[1], /other/);
  await close();
});

shop.end();

await check('one file without a daemon shows the same and asks nobody', async () => {
  const { page, wrong, close } = await open(pathToFileURL(ALONE).href);
  assert.match(await page.locator('#state').textContent(), /^as of /);
  await page.locator('#finding-list button', { hasText: '9229/tcp' }).click();
  assert.ok((await page.locator('#details').textContent()).includes('portolan why'));
  await page.locator('#group').selectOption('container');
  await page.locator('#scene .title', { hasText: 'shop-cart-1' }).first().waitFor();
  await page.locator('#tab-flows').click();
  assert.ok(await page.locator('#table tbody tr').count() > 10);
  assert.deepEqual(await untidy(page), []);
  assert.deepEqual(wrong, []);
  await close();
});

await check('200 hostile names run no script and break nothing', async () => {
  const hostile = await serve('hostile');
  const { page, wrong, close } = await open(hostile.address);
  await page.keyboard.press('b');
  await page.locator('#scene .node:not(.closed)').first().waitFor();
  assert.equal(await page.locator('#scene .node:not(.closed)').count() >= 200, true);
  for (const finding of await page.locator('#finding-list button').all()) await finding.click();
  const nodes = await page.locator('#scene .node').count();
  for (let number = 0; number < nodes; number += 17) await page.locator('#scene .node').nth(number).dispatchEvent('pointerdown', { button: 0 }).then(() => page.locator('#scene .node').nth(number).dispatchEvent('pointerup', { button: 0, bubbles: true }));
  await page.locator('#filter').fill('<img src=x onerror="window.harm=1">');
  await page.locator('#completeness').click();
  assert.equal(await page.evaluate(() => window.harm), undefined);
  assert.deepEqual(await page.evaluate(() => [...document.querySelectorAll('script, img, iframe, object, [onload], [onerror], [onfocus]')].map(it => it.outerHTML.slice(0, 80))), ['<script src="/map.js" defer=""></script>']);
  assert.deepEqual(wrong, []);
  await close();
  hostile.end();
});

await check('500 services with 2,000 edges are at most 30 boxes at first, and answer while one waits', async () => {
  const large = await serve('large');
  const { page, wrong, close } = await open(large.address);
  assert.ok(await page.locator('#scene .node').count() <= 30);
  assert.equal(await page.locator('#finding-list button').count(), 8);
  const times = await page.evaluate(async () => {
    const painted = () => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now()))));
    const time = async act => { const from = performance.now(); act(); return Math.round(await painted() - from); };
    const found = { 'first paint': Math.round(performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? -1) };
    found['draw, 20 boxes'] = await time(() => render());
    found['open one box'] = await time(() => toggleBox(view.map.groups.findIndex(group => group.kind === 'workload')));
    found['filter'] = await time(() => show({ q: '--service service-007' }));
    found['open all, 500 services'] = await time(() => { show({ q: '' }); toggleBoxes(); });
    found['filter, all open'] = await time(() => show({ q: '--to-port 8012' }));
    found['zoom, all open'] = await time(() => zoom(1.2));
    return found;
  });
  writeFileSync(`${PICTURES}/times.json`, `${JSON.stringify(times)}\n`);
  console.log(`        ${Object.entries(times).map(([what, ms]) => `${what} ${ms} ms`).join(', ')}`);
  assert.equal(await page.locator('#scene .node.workload').count(), 500);
  await page.evaluate(() => { show({ q: '' }); fit(); });
  await picture(page, 'large-open');
  assert.deepEqual(await untidy(page), []);
  await page.evaluate(() => toggleBoxes());
  await picture(page, 'large');
  assert.deepEqual(wrong, []);
  await close();
  large.end();
});

await browser.close();
console.log(failures === 0 ? 'the page does what it should' : `${failures} failed`);
process.exit(failures === 0 ? 0 : 1);
