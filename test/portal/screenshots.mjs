// Writes the pictures of docs/portal.md: make screenshots.
import { test } from 'node:test';
import { pictures, startDev } from './support.mjs';

const folder = new URL('../../docs/portal/', import.meta.url).pathname;
const pages = []; // { name, path, prepare }

test('pictures', async (t) => {
  const { url } = await startDev(t);
  await pictures(t, folder, pages, { baseURL: url });
});
