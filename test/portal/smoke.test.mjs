// That the harness does what the tests of the portal rely on.
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { createTransport } from 'nodemailer';
import { allow, atEnd, axe, linkIn, open, pictures, signInAtDex, startDev, startDex, startMail, startServe } from './support.mjs';

test('the browser shows what the server answers', async (t) => {
  const server = await startDev(t);
  const page = await open(t, { baseURL: server.url });
  allow(page, /favicon\.ico/);
  const answer = await page.goto('/healthz');
  assert.equal(answer.status(), 200);
  assert.match(await page.locator('body').innerText(), /ok/);
});

/** site serves pages, [status, text] by path. Their policy lets nothing in but the site's own. */
async function site(t, pages) {
  const server = createServer((request, response) => {
    const [status, body] = pages[request.url.split('?')[0]] ?? [404, 'none'];
    response.writeHead(status, {
      'content-type': 'text/html; charset=utf-8',
      'content-security-policy': "default-src 'none'; script-src 'self'; connect-src 'self'; img-src data:",
    });
    response.end(`<!doctype html><html lang="en"><head><title>A page</title><link rel="icon" href="data:,"></head><body><main><h1>A page</h1>${body}</main></body></html>`);
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  atEnd(t, () => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${server.address().port}`;
}

/** complaint is what a test that visits a page fails with, or undefined. */
async function complaint(baseURL, path, act = () => {}) {
  let end;
  const page = await open({ after: (fn) => (end = fn) }, { baseURL });
  await page.goto(path);
  await act(page);
  return end().then(() => undefined, (error) => error.message);
}

describe('what fails a test', () => {
  test('of the browser', async (t) => {
    const pages = {
      '/': [200, ''], '/refused': [422, 'no'], '/broken': [500, 'no'], '/script': [200, '<script>1</script>'],
      '/style': [200, '<p style="color: red">red</p>'], '/elsewhere': [200, '<script src="https://example.com/x.js"></script>'],
    };
    const base = await site(t, pages);
    assert.equal(await complaint(base, '/'), undefined);
    assert.equal(await complaint(base, '/refused'), undefined);
    assert.match(await complaint(base, '/broken'), /500 from http:.*\/broken/);
    assert.match(await complaint(base, '/script'), /content security policy: script-src-elem forbids inline/);
    assert.match(await complaint(base, '/style'), /content security policy: style-src-attr forbids inline/);
    assert.match(await complaint(base, '/elsewhere'), /example\.com/);
    assert.match(await complaint(base, '/', (page) => page.evaluate(() => console.error('oh'))), /: oh/);
    assert.match(await complaint(base, '/', (page) => page.evaluate(() => fetch('/none').then(() => undefined))), /none.*404/);
    assert.match(await complaint(base, '/', async (page) => {
      const thrown = page.waitForEvent('pageerror');
      await page.evaluate(() => void setTimeout(() => { throw new Error('thrown late'); }));
      await thrown;
    }), /thrown late/);
    assert.equal(await complaint(base, '/', async (page) => {
      allow(page, /: oh/);
      await page.evaluate(() => console.error('oh'));
    }), undefined);
  });

  test('of axe', async (t) => {
    const page = await open(t, { baseURL: await site(t, { '/': [200, '<p>Good</p>'], '/bad': [200, '<input type="text" id="nameless"><a href="/"></a>'] }) });
    await page.goto('/');
    assert.ok((await axe(page)).passes.length > 3);
    await page.goto('/bad');
    await assert.rejects(axe(page), /label \(critical\).*\n {2}#nameless\n {2}<input type="text" id="nameless">[^]*link-name \(serious\)/);
    await axe(page, { rules: { label: { enabled: false }, 'link-name': { enabled: false } } });
  });

  test('of the server', async () => {
    let end;
    const server = await startDev({ after: (fn) => (end = fn) });
    process.kill(server.pid, 'SIGKILL');
    await assert.rejects(end(), /tenantry dev complained:\nit has ended with SIGKILL/);
    await assert.rejects(startServe({ after: (fn) => (end = fn) }, { flags: ['--no-such-flag'] }), /no-such-flag/);
    await assert.rejects(end(), /tenantry serve complained:\n.*no-such-flag/);
  });
});

test('pictures show pages in each look', async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'tenantry-pictures-'));
  atEnd(t, () => rmSync(folder, { recursive: true }));
  const seen = [];
  await pictures(t, folder, [{
    name: 'page', path: '/',
    prepare: async (page) => seen.push(await page.evaluate(() => [matchMedia('(prefers-color-scheme: dark)').matches, innerWidth, innerHeight])),
  }], { baseURL: await site(t, { '/': [200, ''] }) });
  assert.deepEqual(seen, [[false, 1280, 800], [true, 1280, 800], [false, 390, 844]]);
  for (const look of ['light', 'dark', 'narrow']) {
    assert.match(readFileSync(join(folder, `page-${look}.webp`), 'latin1'), /^RIFF....WEBPVP8/s);
  }
});

test('a server of mails takes them from whoever has the password', async (t) => {
  const mail = await startMail(t);
  await startServe(t, { mail }); // which is content with the flags
  const { port, username, password } = new URL(mail.flags[1]);
  const send = (subject, pass) => createTransport({
    host: '127.0.0.1', port, requireTLS: true, tls: { ca: readFileSync(mail.env.SSL_CERT_FILE) },
    auth: { user: decodeURIComponent(username), pass },
  }).sendMail({ from: 'a@example.com', to: 'Åse <ase@example.com>', subject, text: `Hello, Åse: https://portal.example.com/?token=${'a'.repeat(80)} is for you.` });
  await assert.rejects(send('Hello', 'wrong'), /who is that/);
  await send('Hello', decodeURIComponent(password));
  await send('Sören', decodeURIComponent(password));
  const second = await mail.next('ase@example.com', 'Sören');
  assert.equal(linkIn(second), `https://portal.example.com/?token=${'a'.repeat(80)}`);
  assert.match(second.text, /Hello, Åse/);
  assert.equal((await mail.next('ase@example.com')).subject, 'Hello');
  assert.equal(mail.mails.length, 2);
});

test('dex signs somebody in', async (t) => {
  const redirectURI = `${await site(t, { '/callback': [200, 'back'] })}/callback`;
  const ann = { id: 'ann-1', email: 'ann@example.com', username: 'Ann', password: 'the password of Ann' };
  const { issuer, client_id, client_secret } = await startDex(t, { redirectURI, users: [ann, { ...ann, id: 'bob-1', email: 'bob@example.com' }] });
  const page = await open(t);
  const question = new URLSearchParams({ client_id, redirect_uri: redirectURI, response_type: 'code', scope: 'openid email profile', state: 'x', nonce: 'y' });
  await page.goto(`${issuer}/auth?${question}`);
  await signInAtDex(page, { ...ann, password: 'wrong' });
  await page.locator('#login-error').waitFor();
  await signInAtDex(page, ann);
  await page.waitForURL(`${redirectURI}?*`);
  const { code, state } = Object.fromEntries(new URL(page.url()).searchParams);
  assert.equal(state, 'x');
  const answer = await fetch(`${issuer}/token`, {
    method: 'POST', body: new URLSearchParams({ grant_type: 'authorization_code', code, redirect_uri: redirectURI }),
    headers: { authorization: `Basic ${btoa(`${encodeURIComponent(client_id)}:${encodeURIComponent(client_secret)}`)}` },
  });
  const token = await answer.json();
  const claims = JSON.parse(Buffer.from(token.id_token.split('.')[1], 'base64url'));
  assert.equal(claims.iss, issuer);
  assert.equal(claims.aud, client_id);
  assert.equal(claims.nonce, 'y');
  assert.equal(claims.email, ann.email);
  assert.equal(claims.email_verified, true);
  assert.equal(claims.name, 'Ann');
});
