import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ApolloClient, InMemoryCache, gql } from '@apollo/client';
import { GraphQLWsLink } from '@apollo/client/link/subscriptions';
import { createClient } from 'graphql-ws';
import WebSocket from 'ws';

const URL = process.env.PARLEY_URL.replace(/^http/, 'ws');
const CREATE = 'mutation ($name: String!) { createChannel(input: { name: $name }) { channel { id } errors { code } } }';
const SEND = `mutation ($channel: ID!, $text: String!) {
  sendMessage(input: { channelId: $channel, content: $text }) { message { id } errors { code } }
}`;
const EVENTS = `subscription ($channel: ID!) {
  channelEvents(channelId: $channel) {
    __typename
    ... on StreamNotice { kind }
    ... on MessageEvent { message { content } }
  }
}`;

// A client with the default options but for its waits; `seen` collects codes of closed sockets.
function clientFor(tokens, options = {}) {
  const seen = [];
  const client = createClient({
    url: URL,
    webSocketImpl: WebSocket,
    connectionParams: () => ({ Authorization: `Bearer ${tokens.length > 1 ? tokens.shift() : tokens[0]}` }),
    retryWait: async () => {},
    on: { closed: event => seen.push(event.code) },
    ...options,
  });
  return { client, seen };
}

// Ends with the test's own time limit if it never becomes true.
async function until(condition) {
  while (!condition()) await new Promise(resolve => { setTimeout(resolve, 10); });
}

async function first(client, query, variables) {
  for await (const result of client.iterate({ query, variables })) return result;
  return undefined;
}

async function channelFor(client, name) {
  const { data } = await first(client, CREATE, { name });
  assert.deepEqual(data.createChannel.errors, []);
  return data.createChannel.channel.id;
}

test('a query, a mutation and a subscription go by one socket', async () => {
  const { client, seen } = clientFor([process.env.PARLEY_TOKEN], { lazyCloseTimeout: 1000 });
  const { data } = await first(client, '{ viewer { user { name } } }');
  assert.equal(data.viewer.user.name, 'urql');
  const channel = await channelFor(client, 'by-graphql-ws');
  const events = client.iterate({ query: EVENTS, variables: { channel } });
  const ready = await events.next();
  assert.deepEqual(ready.value.data.channelEvents, { __typename: 'StreamNotice', kind: 'READY' });
  for (const text of ['one', 'two']) {
    const sent = await first(client, SEND, { channel, text });
    assert.deepEqual(sent.data.sendMessage.errors, []);
    const { value } = await events.next();
    assert.deepEqual(value.data.channelEvents, { __typename: 'MessageEvent', message: { content: text } });
  }
  await events.return();
  await client.dispose();
  await until(() => seen.length > 0);
  assert.deepEqual(seen, [1000]);
});

test('errors of an operation reach its sink, and the socket lives on', async () => {
  const { client, seen } = clientFor([process.env.PARLEY_TOKEN], { lazyCloseTimeout: 1000 });
  for (const query of ['{ nonsense }', '{', 'subscription { nonsense }']) {
    const errors = await first(client, query).then(() => assert.fail('it was answered'), error => error);
    assert.ok(Array.isArray(errors), String(errors));
    assert.ok(errors[0].extensions.code, errors[0].message);
  }
  const { data } = await first(client, '{ viewer { user { name } } }');
  assert.equal(data.viewer.user.name, 'urql');
  assert.deepEqual(seen, []);
  await client.dispose();
});

test('a client with an old token comes back with a new one', async () => {
  const { client, seen } = clientFor([process.env.PARLEY_EXPIRED_TOKEN, 'nonsense', process.env.PARLEY_TOKEN]);
  const { data } = await first(client, '{ viewer { user { name } } }');
  assert.equal(data.viewer.user.name, 'urql');
  assert.deepEqual(seen, [4403, 4403]);
  await client.dispose();
});

test('the client pings, and is answered', async () => {
  let pongs = 0;
  const { client } = clientFor([process.env.PARLEY_TOKEN], {
    lazy: false,
    keepAlive: 20,
    on: { pong: received => { pongs += received ? 1 : 0; } },
  });
  await until(() => pongs >= 3);
  await client.dispose();
});

test('Apollo subscribes by it', async () => {
  const { client } = clientFor([process.env.PARLEY_TOKEN], { lazyCloseTimeout: 1000 });
  const apollo = new ApolloClient({ cache: new InMemoryCache(), link: new GraphQLWsLink(client) });
  const channel = await channelFor(client, 'by-apollo');
  const kind = await new Promise((resolve, reject) => {
    const subscription = apollo.subscribe({ query: gql(EVENTS), variables: { channel } }).subscribe({
      next: result => {
        resolve(result.data?.channelEvents.kind ?? result.error);
        subscription.unsubscribe();
      },
      error: reject,
    });
  });
  assert.equal(kind, 'READY');
  await client.dispose();
});
