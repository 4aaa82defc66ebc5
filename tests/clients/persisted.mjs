// Apollo Client and urql against a server with a manifest or with automatic persisted queries: see test_persisted_clients.py.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { ApolloClient, CombinedGraphQLErrors, HttpLink, InMemoryCache, gql } from '@apollo/client';
import { PersistedQueryLink } from '@apollo/client/link/persisted-queries';
import { createClient as createUrql, fetchExchange } from '@urql/core';
import { createClient as createSse } from 'graphql-sse';
import { createClient as createWs } from 'graphql-ws';
import WebSocket from 'ws';

const VIEWER = gql`query Viewer { viewer { user { id name } } }`;
const OTHER = gql`query Other { viewer { user { email } } }`;
const NOTICES = 'subscription Notices { viewerEvents { ... on StreamNotice { kind } } }';
const headers = { authorization: `Bearer ${process.env.PARLEY_TOKEN}` };
const uri = process.env.PARLEY_URL;
const isOnly = process.env.PARLEY_MODE === 'only';
const sha256 = text => createHash('sha256').update(text).digest('hex');
// What the generator writes for this very client, if the server has a manifest.
const ids = JSON.parse(process.env.PARLEY_IDS);

function apollo(options) {
  const sent = [];
  const http = new HttpLink({
    uri,
    headers,
    fetch: (url, init) => {
      sent.push({ method: init.method, text: decodeURIComponent(url) + (init.body ?? '') });
      return fetch(url, init);
    },
  });
  const client = new ApolloClient({ cache: new InMemoryCache(), link: new PersistedQueryLink(options).concat(http) });
  return { client, sent };
}

const ask = (client, query) => client.query({ query, fetchPolicy: 'network-only' });

for (const useGETForHashedQueries of [false, true]) {
  test(`Apollo sends a document once (by GET: ${useGETForHashedQueries})`, { skip: isOnly }, async () => {
    const { client, sent } = apollo({ sha256, useGETForHashedQueries });
    const query = gql(`query Once${useGETForHashedQueries} { viewer { user { name } } }`);
    for (const count of [2, 3, 4]) {
      const { data } = await ask(client, query);
      assert.equal(data.viewer.user.name, 'reader');
      assert.equal(sent.length, count); // a miss and the document, then the hash alone
    }
    assert.deepEqual(sent.map(each => each.text.includes('persistedQuery')), [true, true, true, true]);
    assert.deepEqual(sent.map(each => each.text.includes('viewer {')), [false, true, false, false]);
    const hashed = useGETForHashedQueries ? 'GET' : 'POST';
    assert.deepEqual(sent.map(each => each.method), [hashed, 'POST', hashed, hashed]);
    const fresh = apollo({ sha256, useGETForHashedQueries }); // as another user's browser
    await ask(fresh.client, query);
    assert.equal(fresh.sent.length, 1);
  });
}

test('Apollo sends the ids of a manifest, and no document', { skip: !isOnly }, async () => {
  const { client, sent } = apollo({ generateHash: document => ids[document.definitions[0].name.value] ?? '0' });
  for (const count of [1, 2]) {
    const { data } = await ask(client, VIEWER);
    assert.equal(data.viewer.user.name, 'reader');
    assert.equal(sent.length, count);
  }
  const error = await ask(client, OTHER).then(() => assert.fail('it was answered'), found => found);
  assert.ok(CombinedGraphQLErrors.is(error), String(error));
  assert.deepEqual(error.errors.map(each => each.extensions.code), ['PERSISTED_DOCUMENT_NOT_FOUND']);
  await ask(client, VIEWER);
  assert.ok(sent.every(each => !each.text.includes('viewer {'))); // nor after the error
});

test('Apollo sends the documents of a manifest as they are', { skip: !isOnly }, async () => {
  const plain = new ApolloClient({ cache: new InMemoryCache(), link: new HttpLink({ uri, headers }) });
  assert.equal((await ask(plain, VIEWER)).data.viewer.user.name, 'reader');
  const error = await ask(plain, OTHER).then(() => assert.fail('it was answered'), found => found);
  assert.deepEqual(error.errors.map(each => each.extensions.code), ['PERSISTED_DOCUMENT_REQUIRED']);
});

// In development urql wants to see the kind of an operation, which an id alone does not tell.
test('urql sends a document that is nothing but an id', { skip: !isOnly }, async () => {
  const client = createUrql({ url: uri, exchanges: [fetchExchange], fetchOptions: { headers } });
  const named = documentId => ({ kind: 'Document', definitions: [], documentId });
  for (const preferGetMethod of [false, 'force']) {
    const { data, error } = await client.query(named(`sha256:${ids.Viewer}`), {}, { preferGetMethod }).toPromise();
    assert.equal(error, undefined);
    assert.equal(data.viewer.user.name, 'reader');
  }
  const { error } = await client.query(named('x'), {}).toPromise();
  assert.deepEqual(error.graphQLErrors.map(each => each.extensions.code), ['PERSISTED_DOCUMENT_NOT_FOUND']);
});

for (const [name, members] of [
  ['the id', { documentId: sha256(NOTICES) }],
  ['the hash', { extensions: { persistedQuery: { version: 1, sha256Hash: sha256(NOTICES) } } }],
]) {
  test(`graphql-ws and graphql-sse subscribe by ${name}`, { skip: !isOnly }, async context => {
    // graphql-ws insists on a query, be it empty.
    const ws = createWs({ url: uri.replace('http', 'ws'), webSocketImpl: WebSocket, connectionParams: headers });
    const sse = createSse({ url: uri, headers });
    context.after(() => Promise.all([ws.dispose(), sse.dispose()]));
    for (const [client, request] of [[ws, { query: '', ...members }], [sse, members]]) {
      const results = client.iterate(request);
      assert.equal((await results.next()).value.data.viewerEvents.kind, 'READY');
      await results.return();
      const refused = client.iterate({ query: NOTICES + ' ' });
      const errors = await refused.next().then(({ value }) => value.errors, found => found);
      assert.equal(errors[0].extensions.code, 'PERSISTED_DOCUMENT_REQUIRED');
    }
  });
}
