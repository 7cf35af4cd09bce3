// What the tests share: a browser that fails a test whose pages complain, servers of
// their own, an OpenID provider, a server that takes mails.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import { after } from 'node:test';
import { chromium } from 'playwright-core';
import PostalMime from 'postal-mime';
import { SMTPServer } from 'smtp-server';

// The programs are named by the environment, see internal/app/portal_test.go.
const need = (name) => {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set: run go test -run TestPortal ./internal/app`);
  return value;
};

/** patience is how long anything may take, in milliseconds: others use the machine too. */
export const patience = 30_000;

/** until waits for something true and returns it. */
export async function until(what, look) {
  for (const end = Date.now() + patience; Date.now() < end; ) {
    const found = await look();
    if (found) return found;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  assert.fail(`there is no ${what} after ${patience / 1000} seconds`);
}

const ends = new WeakMap();

/**
 * atEnd runs a function when the test is over, the last one first. Like all that
 * takes t, it takes { after } of node:test as well, for what a whole file shares.
 */
export function atEnd(t, end) {
  if (!ends.has(t)) {
    ends.set(t, []);
    t.after(async () => {
      const errors = [];
      for (const end of ends.get(t).reverse()) {
        try {
          await end();
        } catch (error) {
          errors.push(error);
        }
      }
      if (errors.length === 1) throw errors[0];
      if (errors.length) throw new Error(errors.map(({ message }) => message).join('\n'));
    });
  }
  ends.get(t).push(end);
}

/** complaints fails the test at its end if there were any but those it allows. */
function complaints(t, who) {
  const all = [], allowed = [];
  atEnd(t, () => {
    const bad = all.filter((text) => !allowed.some((pattern) => pattern.test(text)));
    if (bad.length) throw new Error(`${who} complained:\n${bad.join('\n')}`);
  });
  return { add: (text) => all.push(text), allow: (...patterns) => allowed.push(...patterns) };
}

let browser;

/** launch starts the one browser of this process. */
function launch() {
  browser ??= chromium.launch({
    executablePath: need('TENANTRY_CHROMIUM'), timeout: patience, chromiumSandbox: false,
    args: [
      '--disable-gpu', '--disable-quic', '--disable-dev-shm-usage', '--no-first-run', '--disable-background-networking',
      '--disable-component-update', '--disable-sync', '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost',
    ],
  });
  return browser;
}

/** quit ends the browser. */
export async function quit() {
  await (await browser)?.close();
  browser = undefined;
}
after(quit);

const allowances = new WeakMap();

/**
 * open is a page in a browser that knows nothing yet. Options are those of a context
 * of Playwright's: colorScheme, viewport, javaScriptEnabled, baseURL, storageState.
 * When the test is over it fails if a page of that context had an error in its
 * console, threw, broke its content security policy, asked another machine for
 * something or was answered with 5xx. A page that is itself answered with 4xx is the
 * test's to look at.
 */
export async function open(t, options = {}) {
  const context = await (await launch()).newContext({
    viewport: { width: 1280, height: 800 }, colorScheme: 'light', locale: 'en-US', timezoneId: 'UTC', ...options,
  });
  const { add, allow } = complaints(t, 'the browser');
  allowances.set(context, allow);
  const refused = new Set(), errors = [];
  atEnd(t, async () => {
    await context.close();
    for (const { text, url } of errors) {
      if (!(text.startsWith('Failed to load resource') && refused.has(url))) add(`${url}: ${text}`);
    }
  });
  context.setDefaultTimeout(patience);
  context.on('console', (message) => {
    if (message.type() === 'error') errors.push({ text: message.text(), url: message.location().url });
  });
  context.on('weberror', (error) => add(String(error.error().stack ?? error.error())));
  context.on('request', (request) => {
    const { protocol, hostname } = new URL(request.url());
    if (/^(http|ws)/.test(protocol) && !['127.0.0.1', 'localhost'].includes(hostname)) add(`another machine is asked: ${request.url()}`);
  });
  context.on('response', (response) => {
    if (response.status() >= 500) add(`${response.status()} from ${response.url()}`);
    else if (response.status() >= 400 && response.request().isNavigationRequest()) refused.add(response.url());
  });
  await context.addInitScript(() => {
    addEventListener('securitypolicyviolation', (event) => {
      console.error(`content security policy: ${event.effectiveDirective} forbids ${event.blockedURI} (${event.sourceFile}:${event.lineNumber})`);
    }, true);
  });
  return context.newPage();
}

/** allow names complaints, as patterns, that are what the test is about. */
export const allow = (page, ...patterns) => allowances.get(page.context())(...patterns);

const axeSource = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

/**
 * axe looks for what keeps people from using the page and fails on what is serious
 * or critical. Options are those of axe.run; context is what it looks at.
 */
export async function axe(page, options = {}, context) {
  // The page's policy lets no script in; the debugger's are not the page's.
  const session = await page.context().newCDPSession(page);
  const { exceptionDetails } = await session.send('Runtime.evaluate', { expression: `if (!globalThis.axe) {${axeSource}}` });
  await session.detach();
  assert.equal(exceptionDetails, undefined, 'axe does not start');
  const results = await page.evaluate(
    ([options, context]) => globalThis.axe.run(context ?? document, { resultTypes: ['violations'], ...options }), [options, context],
  );
  const grave = results.violations.filter(({ impact }) => impact === 'serious' || impact === 'critical');
  const lines = grave.flatMap(({ id, impact, help, nodes }) =>
    nodes.map(({ target, html, failureSummary }) => `${id} (${impact}): ${help}\n  ${target.join(' ')}\n  ${html}\n  ${failureSummary.replaceAll('\n', '\n  ')}`));
  assert.equal(lines.length, 0, `axe on ${page.url()}:\n${lines.join('\n')}`);
  return results;
}

/** picture writes what is to be seen of a page as WebP. */
export async function picture(page, file, quality = 80) {
  const session = await page.context().newCDPSession(page);
  const { data } = await session.send('Page.captureScreenshot', { format: 'webp', quality });
  await session.detach();
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, Buffer.from(data, 'base64'));
}

/** pictured are the looks that a page is pictured in. */
export const pictured = {
  light: { colorScheme: 'light', viewport: { width: 1280, height: 800 } },
  dark: { colorScheme: 'dark', viewport: { width: 1280, height: 800 } },
  narrow: { colorScheme: 'light', viewport: { width: 390, height: 844 } },
};

/**
 * pictures writes folder/NAME-LOOK.webp of each page in each look. A page is { name,
 * path, prepare }: prepare(page), if given, does what comes before the picture.
 * options, such as storageState, are for each context.
 */
export async function pictures(t, folder, pages, options = {}) {
  for (const [look, settings] of Object.entries(pictured)) {
    const page = await open(t, { reducedMotion: 'reduce', ...options, ...settings });
    for (const { name, path, prepare } of pages) {
      await page.goto(path, { waitUntil: 'networkidle' });
      await prepare?.(page);
      await page.evaluate(() => document.fonts.ready.then(() => undefined));
      await picture(page, join(folder, `${name}-${look}.webp`));
    }
  }
}

/**
 * start runs a program until the test is over and returns what ready made of a line of
 * its stream, and its process id. heard gets what it says on stderr, and that it did
 * not end well.
 */
async function start(t, program, flags, { env = {}, stream = 'stdout', heard = () => {}, ready }) {
  const child = spawn(program, flags, { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...env } });
  const gone = new Promise((resolve) => child.once('close', (code, signal) => resolve(signal ?? code)));
  const said = [];
  atEnd(t, async () => {
    child.kill();
    const late = setTimeout(() => child.kill('SIGKILL'), patience);
    const how = await gone;
    clearTimeout(late);
    if (how !== 0 && how !== 'SIGTERM') heard(`it has ended with ${how}`);
  });
  return new Promise((resolve, reject) => {
    for (const name of ['stdout', 'stderr']) {
      createInterface({ input: child[name] }).on('line', (line) => {
        said.push(line);
        if (name === 'stderr') heard(line);
        if (name !== stream) return;
        const found = ready(line);
        if (found) resolve([found, child.pid]);
      });
    }
    child.once('error', reject);
    gone.then((how) => reject(new Error(`${program} ended with ${how}:\n${said.join('\n')}`)));
  });
}

const line = (text) => {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
};

/** temporary is a folder that is gone when the test is over. */
function temporary(t) {
  const folder = mkdtempSync(join(tmpdir(), 'tenantry-portal-'));
  atEnd(t, () => rmSync(folder, { recursive: true }));
  return folder;
}

/**
 * startDev runs "tenantry dev" and returns the line that it prints, and url, where
 * its pages are. seed is the text of a seed file. It fails the test if it logs
 * anything that was not allowed with its allow(...patterns).
 */
export async function startDev(t, { seed, flags = [], env } = {}) {
  const { add, allow } = complaints(t, 'tenantry dev');
  const folder = temporary(t);
  const all = ['dev', '--json', '--listen', '127.0.0.1:0'];
  if (seed) {
    writeFileSync(join(folder, 'seed.yaml'), seed);
    all.push('--seed', join(folder, 'seed.yaml'));
  }
  const [info, pid] = await start(t, need('TENANTRY_BINARY'), [...all, ...flags], { env: { TMPDIR: folder, ...env }, heard: add, ready: line });
  return { ...info, url: new URL(info.base_url).origin, pid, allow };
}

/** nextMail is the first mail to an address, { to, subject, text }, among those that "tenantry dev" keeps. */
export async function nextMail(server, to) {
  const page = await (await launch()).newPage();
  try {
    return await until(`mail to ${to}`, async () => {
      await page.goto(server.mails_url);
      const mails = await page.locator('article.mail').evaluateAll((all) => all.map((one) => ({
        subject: one.querySelector('h2').textContent, to: one.querySelector('p').textContent.split(' ')[1], text: one.querySelector('pre').textContent,
      })));
      return mails.reverse().find((mail) => mail.to === to);
    });
  } finally {
    await page.close();
  }
}

/** signIn signs somebody in; the page was opened with the server's url as its baseURL. */
export async function signIn(page, email, password = 'tenantry-dev-password') {
  await page.goto('/portal/sign-in');
  await page.getByLabel('Email address').fill(email);
  await page.getByLabel('Password').fill(password);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.waitForURL('/portal/');
}

/** freePort is one that nobody listens on. */
export async function freePort() {
  const server = net.createServer();
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address();
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/**
 * startServe runs "tenantry serve" with nothing in it, which sends its mails to
 * mail, from startMail. What it returns is like startDev's, without keys; what it
 * logs as an error fails the test.
 */
export async function startServe(t, { mail, flags = [], env } = {}) {
  const { add, allow } = complaints(t, 'tenantry serve');
  const data = temporary(t);
  const url = `http://127.0.0.1:${await freePort()}`; // which links in mails name
  const all = [
    'serve', '--data', data, '--listen', new URL(url).host, '--rate-limit', '-1', '--log-format', 'json', '--portal-url', url,
    ...(mail?.flags ?? []), ...flags,
  ];
  const [, pid] = await start(t, need('TENANTRY_BINARY'), all, {
    env: { ...mail?.env, ...env }, stream: 'stderr', ready: (text) => line(text)?.url,
    heard: (text) => {
      if (!/^\{.*"level":"(DEBUG|INFO|WARN)"/.test(text)) add(text);
    },
  });
  const token = readFileSync(join(data, 'operator.token'), 'utf8').trim();
  return { url, data, pid, base_url: `${url}/v2`, operator_url: `${url}/operator/v1`, operator_token: token, allow };
}

/** operator calls the operator API of a server and returns data. */
export async function operator(server, method, path, body) {
  const response = await fetch(server.operator_url + path, {
    method,
    headers: { authorization: `Bearer ${server.operator_token}`, ...(body && { 'content-type': 'application/json' }) },
    body: body && JSON.stringify(body),
  });
  const answer = await response.json();
  assert.ok(response.ok, `${method} ${path}: ${response.status} ${JSON.stringify(answer)}`);
  return answer.data;
}

/**
 * startDex runs dex and returns { issuer, client_id, client_secret }. users are
 * { id, email, username, password }. It has no user info and checks no PKCE, and its
 * subjects are made of the id and the name of its connector.
 */
export async function startDex(t, { redirectURI, users, clientID = 'tenantry', clientSecret = 'a secret of dex', tokenLifetime = '24h' }) {
  const [info] = await start(t, need('TENANTRY_DEX'), [
    '-client-id', clientID, '-client-secret', clientSecret, '-redirect-uri', redirectURI, '-users', JSON.stringify(users),
    '-id-token-lifetime', tokenLifetime,
  ], { ready: line });
  return info;
}

/** signInAtDex fills in dex's form, which the page shows. */
export async function signInAtDex(page, { email, password }) {
  await page.locator('#login').fill(email);
  await page.locator('#password').fill(password);
  await page.locator('#submit-login').click();
}

/**
 * startMail runs an SMTP server that wants TLS and a password before it takes mails.
 * - mails: those that came, parsed: from, to, subject, text, headers, and raw;
 * - next(to, subject): the first mail to an address, with a subject if one is given,
 *   that next has not returned yet;
 * - flags, env: for the server that sends.
 */
export async function startMail(t, { user = 'tenantry', password = 'a secret of mails' } = {}) {
  const certificate = need('TENANTRY_CERTIFICATE');
  const mails = [], seen = new Set();
  const server = new SMTPServer({
    cert: readFileSync(certificate), key: readFileSync(need('TENANTRY_CERTIFICATE_KEY')), disableReverseLookup: true,
    onAuth: (auth, _, done) => (auth.username === user && auth.password === password ? done(null, { user }) : done(new Error('who is that?'))),
    onData: (stream, _, done) => {
      const parts = [];
      stream.on('data', (part) => parts.push(part));
      stream.once('end', async () => {
        const raw = Buffer.concat(parts);
        try {
          mails.push({ ...(await PostalMime.parse(raw)), raw: raw.toString() });
          done();
        } catch (error) {
          done(error);
        }
      });
    },
  });
  const { add } = complaints(t, 'the mail server');
  server.on('error', (error) => add(String(error)));
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  atEnd(t, () => new Promise((resolve) => server.close(resolve)));
  const port = server.server.address().port;
  const login = `${encodeURIComponent(user)}:${encodeURIComponent(password)}`;
  const next = (to, subject) => until(`mail to ${to}`, () => {
    const mail = mails.find((one) => !seen.has(one) && one.to.some(({ address }) => address === to) && (!subject || one.subject === subject));
    if (mail) seen.add(mail);
    return mail;
  });
  return {
    mails, next, env: { SSL_CERT_FILE: certificate },
    flags: ['--smtp-url', `smtp://${login}@127.0.0.1:${port}`, '--smtp-from', 'Tenantry <tenantry@example.com>', '--smtp-starttls', 'required'],
  };
}

/** linkIn is the first address of a page in a mail. */
export function linkIn(mail) {
  const [link] = mail.text.match(/https?:\/\/\S+/) ?? assert.fail(`no link in: ${mail.text}`);
  return link;
}
