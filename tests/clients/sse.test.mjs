// Subscriptions as server-sent events: the reference client, urql, and the EventSource of browsers.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createClient as createUrqlClient, fetchExchange, gql } from '@urql/core';
import { EventSource } from 'eventsource';
import { createClient } from 'graphql-sse';

const URL = process.env.PARLEY_URL;
const HEADERS = { authorization: `Bearer ${process.env.PARLEY_TOKEN}` };
const CREATE = 'mutation ($name: String!) { createChannel(input: { name: $name }) { channel { id } errors { code } } }';
const SEND = `mutation ($channel: ID!, $text: String!) {
  sendMessage(input: { channelId: $channel, content: $text }) { message { id } errors { code } }
}`;
const EVENTS = `subscription ($channel: ID!) {
  channelEvents(channelId: $channel) {
    __typename
    ... on StreamNotice { kind recovered }
    ... on MessageEvent { message { content } }
  }
}`;

// A client with the default options but for its waits.
function clientFor(tokens, options = {}) {
  const headers = () => ({ authorization: `Bearer ${tokens.length > 1 ? tokens.shift() : tokens[0]}` });
  return createClient({ url: URL, headers, retry: async () => {}, ...options });
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

async function send(client, channel, text) {
  const { data } = await first(client, SEND, { channel, text });
  assert.deepEqual(data.sendMessage.errors, []);
}

// A fetch whose last connection can be cut; the next one waits until it is mended.
function breakable() {
  let last;
  let mended = Promise.resolve();
  async function fetchFn(input, init) {
    await mended;
    const { body, ok, status, headers, url } = await fetch(input, init);
    const through = new TransformStream({ start(controller) { last = controller; } });
    return { body: body.pipeThrough(through), ok, status, headers, url, redirected: false };
  }
  function cut() {
    let mend;
    mended = new Promise(resolve => { mend = resolve; });
    last.error(new TypeError('cut'));
    return mend;
  }
  return { fetchFn, cut };
}

test('graphql-sse: queries, mutations and subscriptions', async () => {
  const client = clientFor([process.env.PARLEY_TOKEN]);
  assert.equal((await first(client, '{ viewer { user { name } } }')).data.viewer.user.name, 'urql');
  const channel = await channelFor(client, 'by-graphql-sse');
  const events = client.iterate({ query: EVENTS, variables: { channel } });
  assert.equal((await events.next()).value.data.channelEvents.kind, 'READY');
  for (const text of ['one', 'two\nlines']) {
    await send(client, channel, text);
    assert.equal((await events.next()).value.data.channelEvents.message.content, text);
  }
  await first(client, 'mutation ($c: ID!) { deleteChannel(channelId: $c) { errors { code } } }', { c: channel });
  assert.equal((await events.next()).value.data.channelEvents.__typename, 'ChannelEvent');
  assert.equal((await events.next()).value.data.channelEvents.kind, 'ACCESS_REVOKED');
  assert.equal((await events.next()).done, true);
});

test('graphql-sse: errors of an operation are its result, at the first attempt', async () => {
  const client = clientFor([process.env.PARLEY_TOKEN], { retryAttempts: 0 });
  for (const [query, code] of [
    ['{ nonsense }', 'VALIDATION_FAILED'],
    ['subscription {', 'PARSE_FAILED'],
    ['subscription { channelEvents(channelId: "x") { __typename } }', 'NOT_FOUND'],
    ['subscription { viewerEvents(after: ["x"]) { __typename } }', 'CURSOR_INVALID'],
  ]) {
    const { errors } = await first(client, query);
    assert.equal(errors[0].extensions.code, code);
  }
});

test('graphql-sse: a client with an old token comes back with a new one', async () => {
  const client = clientFor([process.env.PARLEY_EXPIRED_TOKEN, 'nonsense', process.env.PARLEY_TOKEN]);
  const { data } = await first(client, 'subscription { viewerEvents { ... on StreamNotice { kind } } }');
  assert.equal(data.viewerEvents.kind, 'READY');
});

test('graphql-sse: nothing is missed by a request that is kept up to date', async () => {
  const reference = clientFor([process.env.PARLEY_TOKEN]);
  const channel = await channelFor(reference, 'by-graphql-sse-again');
  const { fetchFn, cut } = breakable();
  const client = clientFor([process.env.PARLEY_TOKEN], { fetchFn });
  const request = {
    query: `subscription ($channel: ID!, $after: [EventCursor!]) {
      channelEvents(channelId: $channel, after: $after) {
        ... on StreamNotice { kind recovered cursor }
        ... on MessageEvent { message { content } cursor }
      }
    }`,
    variables: { channel, after: [] },
  };
  const events = client.iterate(request);
  async function next() {
    const { cursor, ...rest } = (await events.next()).value.data.channelEvents;
    request.variables.after = [cursor];
    return rest;
  }
  try {
    assert.deepEqual(await next(), { kind: 'READY', recovered: 0 });
    await send(reference, channel, 'before');
    assert.deepEqual(await next(), { message: { content: 'before' } });
    const mend = cut();
    await send(reference, channel, 'missed');
    mend();
    assert.deepEqual(await next(), { kind: 'READY', recovered: 1 });
    assert.deepEqual(await next(), { message: { content: 'missed' } });
  } finally {
    await events.return();
  }
});

test('graphql-sse: a refusal can be read', async () => {
  const client = clientFor([process.env.PARLEY_EXPIRED_TOKEN], { retryAttempts: 0 });
  const error = await first(client, EVENTS, { channel: 'x' }).then(() => assert.fail('it was answered'), error => error);
  assert.equal(error.response.status, 401);
  assert.equal((await error.response.json()).errors[0].extensions.code, 'TOKEN_EXPIRED');
});

test('urql: subscriptions by fetch', async () => {
  const reference = clientFor([process.env.PARLEY_TOKEN]);
  const channel = await channelFor(reference, 'by-urql-events');
  const client = createUrqlClient({
    url: URL,
    exchanges: [fetchExchange],
    fetchSubscriptions: true,
    fetchOptions: { headers: HEADERS },
  });
  const results = [];
  let subscription;
  await new Promise((resolve, reject) => {
    subscription = client.subscription(gql(EVENTS), { channel }).subscribe(result => {
      if (result.error) reject(result.error);
      results.push(result.data.channelEvents);
      if (results.length === 1) send(reference, channel, 'to urql').catch(reject);
      if (results.length === 2) resolve();
    });
  });
  subscription.unsubscribe();
  assert.equal(results[0].kind, 'READY');
  assert.equal(results[1].message.content, 'to urql');
});

for (const [name, query, token, code] of [
  ['an error of the operation', 'subscription { channelEvents(channelId: "x") { __typename } }', HEADERS, 'NOT_FOUND'],
  ['no token', 'subscription { viewerEvents { __typename } }', {}, 'UNAUTHENTICATED'],
]) {
  test(`urql: ${name} is a GraphQL error with a code, not a network error`, async () => {
    const exchanges = [fetchExchange];
    const client = createUrqlClient({ url: URL, exchanges, fetchSubscriptions: true, fetchOptions: { headers: token } });
    const { error } = await new Promise(resolve => { client.subscription(gql(query), {}).subscribe(resolve); });
    assert.equal(error.networkError, undefined);
    assert.deepEqual(error.graphQLErrors.map(each => each.extensions.code), [code]);
  });
}

test('EventSource: what is missed while it is away follows when it is back', async () => {
  const reference = clientFor([process.env.PARLEY_TOKEN]);
  const channel = await channelFor(reference, 'by-event-source');
  const url = `${URL}?${new URLSearchParams({ query: EVENTS, variables: JSON.stringify({ channel }) })}`;
  const sent = [];
  const { fetchFn, cut } = breakable();
  const source = new EventSource(url, {
    fetch: (input, init) => {
      sent.push(init.headers['Last-Event-ID']);
      // Browsers have no way to add this header.
      return fetchFn(input, { ...init, headers: { ...init.headers, ...HEADERS } });
    },
  });
  const waiting = [];
  const received = [];
  source.addEventListener('next', event => {
    received.push(event);
    waiting.shift()?.();
  });
  async function next() {
    if (received.length === 0) await new Promise(resolve => { waiting.push(resolve); });
    const { data, lastEventId } = received.shift();
    return { ...JSON.parse(data).data.channelEvents, lastEventId };
  }
  try {
    assert.equal((await next()).kind, 'READY');
    await send(reference, channel, 'before');
    const { message, lastEventId } = await next();
    assert.equal(message.content, 'before');
    const mend = cut();
    await send(reference, channel, 'missed');
    mend();
    const ready = await next();
    assert.deepEqual([ready.kind, ready.recovered], ['READY', 1]);
    assert.equal((await next()).message.content, 'missed');
    assert.deepEqual(sent, [undefined, lastEventId]);
  } finally {
    source.close();
  }
});
