// What is said in your channels, by urql. However connections and servers end: nothing is lost or comes twice.
// npm install @urql/core graphql graphql-ws ws; PARLEY_TOKEN=$(parley token alice) node urql.mjs
import { createClient, fetchExchange, gql, subscriptionExchange } from '@urql/core';
import { createClient as createSocket } from 'graphql-ws';
import WebSocket from 'ws'; // browsers have their own

const url = process.env.PARLEY_URL ?? 'http://127.0.0.1:8000/graphql';
const headers = () => ({ authorization: `Bearer ${process.env.PARLEY_TOKEN}` }); // get a fresh token here
const STATE = gql`query State {
  viewer { cursor user { id } channels(first: 100) { nodes { id name messages(last: 20) { nodes { id content } } } } }
}`;
const EVENTS = gql`subscription Events($after: [EventCursor!]) { viewerEvents(after: $after) {
  ... on StreamNotice { kind cursor }
  ... on Event { type stream cursor }
  ... on MessageEvent { message { id content author { id name } } }
  ... on MemberEvent { user { id } }
} }`;
const cursors = new Map(); // by stream; under '' that of a notice or of the viewer, which is for all of them
let me;

const pause = milliseconds => new Promise(resolve => { setTimeout(resolve, milliseconds); });
// Tries for ever, also while there is no server, but for the close codes that are final. Not all clients at once.
const socket = createSocket({
  url: url.replace('http', 'ws'), webSocketImpl: WebSocket, connectionParams: headers, shouldRetry: () => true,
  retryAttempts: Infinity, retryWait: tries => pause(Math.min(2 ** tries, 30) * 500 * (1 + Math.random())),
});
// It subscribes again by itself, with the same object: that has to say where we stand by then.
const forwardSubscription = request => ({ subscribe: sink => ({ unsubscribe: socket.subscribe({
  query: request.query, get variables() { return { ...request.variables, after: [...cursors.values()] }; },
}, sink) }) });
const exchanges = [fetchExchange, subscriptionExchange({ forwardSubscription })];
const client = createClient({ url, exchanges, fetchOptions: () => ({ headers: headers() }) });

// Its cursor is never ahead of the rest: what happens meanwhile is in the events.
async function load() {
  try {
    const { data } = await client.query(STATE, {}, { requestPolicy: 'network-only' });
    me = data.viewer.user.id;
    return data.viewer.cursor;
  } catch (problem) {
    console.error(String(problem));
    return pause(1000).then(load);
  }
}

async function take({ kind, type, stream, cursor, message, user }) {
  if (kind) cursors.clear(); // a notice's cursor is for all streams, and replaces the others
  cursors.set(stream ?? '', cursor);
  if (type === 'MESSAGE_CREATED') console.log(`${message.author.name}: ${message.content}`);
  if (kind === 'RESYNC_REQUIRED' || (type === 'MEMBER_JOINED' && user.id === me)) await load();
}

async function start() {
  const cursor = await load();
  cursors.clear();
  cursors.set('', cursor);
  const running = client.subscription(EVENTS, {}).subscribe(({ data, error }) => {
    if (!error) return void take(data.viewerEvents);
    console.error(String(error));
    running.unsubscribe();
    pause(1000).then(start);
  });
}

await start();
