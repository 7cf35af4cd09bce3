// What the tests share: the server they were given, managers and users of their
// own, a proxy that loses answers.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import http from 'node:http';
import { createInterface } from 'node:readline';
import Telnyx from 'telnyx';

// The server is named by the environment, see internal/app/node_test.go.
const need = (name) => {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set: run go test -run TestNode ./internal/app`);
  return value;
};

export const baseURL = need('TELNYX_BASE_URL');
export const managerKey = need('TELNYX_API_KEY');
export const managerID = need('TENANTRY_MANAGER_ID');
export const managerEmail = need('TENANTRY_MANAGER_EMAIL');
export const organizationKey = need('TENANTRY_ORGANIZATION_KEY');
export const operatorURL = need('TENANTRY_OPERATOR_URL');
export const operatorToken = need('TENANTRY_OPERATOR_TOKEN');
export const binary = need('TENANTRY_BINARY');

let last = 0;
/** unique is a text that no other call of any process returns. */
export const unique = (word) => `${word}-${process.pid}-${++last}`;

/** connect is an SDK client that does not retry unless told to. */
export const connect = (apiKey, options = {}) => new Telnyx({ apiKey, baseURL, maxRetries: 0, ...options });

/** operator calls the operator API and returns data. */
export async function operator(method, path, body) {
  const response = await fetch(operatorURL + path, {
    method,
    headers: { authorization: `Bearer ${operatorToken}`, ...(body && { 'content-type': 'application/json' }) },
    body: body && JSON.stringify(body),
  });
  const answer = await response.json();
  assert.ok(response.ok, `${method} ${path}: ${response.status} ${JSON.stringify(answer)}`);
  return answer.data;
}

/** newOrganization is a root account nobody else uses, and its client. */
export async function newOrganization(balance = '0.00') {
  const email = `${unique('root')}@example.com`;
  const account = await operator('POST', '/accounts', { business_name: unique('Organization'), email, balance });
  return { id: account.id, email, key: account.api_key, client: connect(account.api_key) };
}

/** newManager is an approved manager that nobody else uses. */
export async function newManager(channelPool = 1000) {
  const organization = await newOrganization();
  await operator('POST', `/accounts/${organization.id}/actions/approve_manager`, { channel_pool: channelPool });
  return organization;
}

/** createMany makes accounts in order and returns them. */
export async function createMany(client, count, name = 'Account') {
  const made = [];
  for (let i = 0; i < count; i++) {
    made.push((await client.managedAccounts.create({ business_name: `${name} ${i}`, email: `${unique('account')}@example.com` })).data);
  }
  return made;
}

export async function collect(pages) {
  const all = [];
  for await (const item of pages) all.push(item);
  return all;
}

export const ids = (list) => list.map((item) => item.id);

/** refused waits for a typed error and checks all that a caller reads of it. */
export async function refused(promise, type, { status, code, title, detail, source }) {
  const error = await promise.then(
    () => assert.fail('the call was not refused'),
    (error) => error,
  );
  assert.ok(error instanceof type, `${type.name} expected, got ${error.constructor.name}: ${error.message}`);
  assert.ok(error instanceof Telnyx.APIError);
  assert.equal(error.status, status);
  assert.match(error.headers.get('content-type'), /^application\/json/);
  assert.match(error.headers.get('x-request-id'), /^[0-9a-f-]{36}$/);
  const [first] = error.error.errors;
  assert.equal(first.code, code);
  assert.equal(first.title, title);
  assert.match(first.detail, detail);
  assert.deepEqual(first.source, source);
  assert.match(first.meta.url, new RegExp(`/${code}$`));
  return error;
}

/** fetchOver is a fetch over a given connection. */
export function fetchOver(agent, url, init) {
  const headers = Object.fromEntries(new Headers(init.headers));
  return new Promise((resolve, reject) => {
    const request = http.request(url, { agent, method: init.method, headers }, async (answer) => {
      const parts = [];
      for await (const part of answer) parts.push(part);
      resolve(new Response(Buffer.concat(parts), { status: answer.statusCode, headers: answer.headers }));
    });
    request.on('error', reject);
    request.end(init.body);
  });
}

/** startServer runs a server of its own and stops it when the test is over. */
export async function startServer(t, ...flags) {
  const child = spawn(binary, ['dev', '--json', '--listen', '127.0.0.1:0', ...flags], { stdio: ['ignore', 'pipe', 'inherit'] });
  t.after(async () => {
    const gone = new Promise((resolve) => child.once('exit', resolve));
    child.kill();
    await gone;
  });
  const [line] = await Promise.race([
    new Promise((resolve) => createInterface({ input: child.stdout }).once('line', (text) => resolve([text]))),
    new Promise((_, reject) => child.once('exit', (code) => reject(new Error(`the server ended with ${code}`)))),
  ]);
  return JSON.parse(line);
}

/**
 * startProxy forwards to the server. For each POST it calls fault(n, attempt), n
 * from 0 in order of arrival, attempt as the SDK counts them:
 * - undefined: the answer passes;
 * - 'cut': the server's answer is awaited whole and the connection is cut;
 * - 'half': the same, after half of the answer's body;
 * - 'lost': the connection is cut and the server never hears of the request;
 * - a number: the server's answer is awaited and that status goes out instead.
 * tries holds the retry count of each POST, codes and bodies what the server answered.
 */
export async function startProxy(t, fault) {
  const target = new URL(baseURL);
  const agent = new http.Agent({ keepAlive: true });
  const seen = { tries: [], codes: [], bodies: [] };
  let posts = 0;
  const server = http.createServer(async (request, response) => {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    const isPost = request.method === 'POST';
    const attempt = Number(request.headers['x-stainless-retry-count']);
    const wanted = isPost ? fault(posts++, attempt) : undefined;
    if (isPost) seen.tries.push(attempt);
    if (wanted === 'lost') return request.socket.destroy();
    const { host, connection, ...headers } = request.headers;
    const upstream = http.request(
      { agent, host: target.hostname, port: target.port, method: request.method, path: request.url, headers },
      async (answer) => {
        const parts = [];
        for await (const part of answer) parts.push(part);
        const body = Buffer.concat(parts);
        if (isPost) {
          seen.codes.push(answer.statusCode);
          seen.bodies.push(JSON.parse(body));
        }
        if (wanted === undefined) {
          response.writeHead(answer.statusCode, answer.headers);
          response.end(body);
        } else if (wanted === 'cut') {
          request.socket.destroy();
        } else if (wanted === 'half') {
          response.writeHead(answer.statusCode, answer.headers);
          response.write(body.subarray(0, body.length / 2), () => request.socket.destroy());
        } else {
          response.writeHead(wanted, { 'content-type': 'text/html' });
          response.end('<h1>the proxy has a bad day</h1>');
        }
      },
    );
    upstream.on('error', () => request.socket.destroy());
    upstream.end(Buffer.concat(chunks));
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
    agent.destroy();
  });
  return { seen, baseURL: `http://127.0.0.1:${server.address().port}${target.pathname}` };
}
